"""Tests of the plain sections of a space file: objective, search and resources."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from raysearch.config.faults import FaultList
from raysearch.config.sections import read_section
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.settings import SECTIONS
from tests.raysearch.space.space_files import BASE, SEVERAL, changed, faults_of, spec_of


@pytest.mark.parametrize(
    ("section", "name", "here"),
    [
        ("search", "num_samples", "search.trials"),
        ("search", "max_concurrent", "resources.concurrent"),
        ("scheduler", "grace_period", "scheduler.grace_iters"),
        ("scheduler", "max_t", "scheduler.max_iters"),
    ],
)
def test_the_names_of_other_libraries_are_told_by_their_names_here(section: str, name: str, here: str) -> None:
    faults = FaultList("space.yaml")
    assert read_section({name: 4}, (section,), SECTIONS[section], faults) is None
    assert [str(fault) for fault in faults.found] == [
        f"space.yaml: {section}.{name}: is not known here; it is {here} here"
    ]
    group, _, field = here.partition(".")
    assert field in SECTIONS[group].model_fields


@pytest.mark.parametrize(
    ("given", "overrides", "expected"),
    [
        (None, [], None),
        (False, [], None),
        (True, [], (3, 3, "val")),
        ({}, [], (3, 3, "val")),
        ({"top": 2, "split": "test"}, ["search.confirm.seeds=5"], (2, 5, "test")),
        (True, ["search.confirm.top=1"], (1, 3, "val")),
        (True, ["search.confirm=false"], None),
    ],
)
def test_a_search_says_whether_it_is_confirmed(folder: Path, given: Any, overrides: list[str], expected: Any) -> None:
    spec = spec_of(folder, changed(search={"confirm": given}), overrides)
    confirm = spec.search.confirm
    assert (confirm and (confirm.top, confirm.seeds, confirm.split)) == expected
    assert parse_space(yaml.safe_load(spec.to_yaml()), folder) == spec


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ({"metric": "mIoU", "mode": "max"}, 'metric: "mIoU" is never reported by the trainable; did you mean miou?'),
        ({"metric": "accuracy", "mode": "max"}, "valid are loss, miou"),
        ({"metric": "miou", "mode": "maximum"}, "mode: \"maximum\" must be 'max' or 'min'"),
        ({"metric": "miou"}, "objective.mode: is missing"),
        ("miou", "objective: is text; it must be a mapping of metric, mode"),
        ({}, "objective: is missing"),
        ({"metric": "peak_memory_bytes", "mode": "min"}, "peak_memory_bytes only grows while a trial trains"),
        (
            [{"metric": "miou", "mode": "max"}, {"metric": "los", "mode": "min"}],
            'objective.1.metric: "los" is never reported by the trainable; did you mean loss?',
        ),
        (
            [{"metric": "miou", "mode": "max"}, {"metric": "miou", "mode": "min"}],
            'objective.1.metric: "miou" is already an objective; name each metric once',
        ),
        ([{"metric": "miou", "mode": "max"}, {"metric": "loss"}], "objective.1.mode: is missing"),
    ],
)
def test_wrong_objectives(folder: Path, objective: Any, expected: str) -> None:
    document = changed()
    document["objective"] = objective
    (fault,) = faults_of(folder, document)
    assert expected in fault


def test_a_list_of_one_objective(folder: Path) -> None:
    assert spec_of(folder, changed(objective=[BASE["objective"]])).objectives == spec_of(folder).objectives


def test_several_objectives(folder: Path) -> None:
    spec = spec_of(folder, changed(objective=SEVERAL))
    assert [(one.metric, one.mode) for one in spec.objectives] == [
        ("miou", "max"),
        ("loss", "min"),
        ("peak_memory_bytes", "min"),
    ]
    assert spec.scheduler.by == "first"
    (folder / "again.yaml").write_text(spec.to_yaml())
    assert load_space(folder / "again.yaml") == spec


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"cpu": 0}, "resources.cpu: 0 must be greater than 0"),
        ({"cpu": 1.5}, "1.5 is above 1 but not a whole number, which Ray does not support; give 1"),
        ({"gpu": -1}, "resources.gpu: -1 must be greater than or equal to 0"),
        ({"concurrent": 0}, "resources.concurrent: 0 must be 'auto' or greater than or equal to 1"),
        ({"concurrent": "all"}, 'resources.concurrent: "all" must be'),
        ({"gpus": 1}, "resources.gpus: is not known here; did you mean gpu?"),
        ({"cpu": True}, "true is a truth value, not a number"),
        ([1], "resources: is a list; it must be a mapping of cpu, gpu, concurrent"),
    ],
)
def test_wrong_resources(folder: Path, section: Any, expected: str) -> None:
    (fault,) = faults_of(folder, changed(resources=section))
    assert expected in fault


def test_half_a_gpu_and_a_number_at_a_time(folder: Path) -> None:
    resources = spec_of(folder, changed(resources={"gpu": 0.5, "concurrent": 3})).resources
    assert (resources.gpu, resources.concurrent) == (0.5, 3)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"trials": 0}, "search.trials: 0 must be greater than or equal to 1; the default is 32"),
        ({"trails": 3}, "search.trails: is not known here; did you mean trials?"),
        ({"algorithm": "tpee"}, "did you mean tpe?"),
        ({"seed": -1}, "search.seed: -1 must be greater than or equal to 0"),
        ({"trials": 1.5}, "search.trials: 1.5 must be a whole number"),
        ({"confirm": 3}, "search.confirm: 3 must be a mapping"),
        ({"confirm": {"tops": 3}}, "search.confirm.tops: is not known here; did you mean top?"),
        ({"confirm": {"seeds": 0}}, "search.confirm.seeds: 0 must be greater than or equal to 1; the default is 3"),
    ],
)
def test_wrong_search_settings(folder: Path, section: Any, expected: str) -> None:
    (fault,) = faults_of(folder, changed(search=section))
    assert expected in fault
