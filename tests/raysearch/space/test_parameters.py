"""Tests of searched values: the conditions under which they matter, and their choices."""

from pathlib import Path
from typing import Any

import pytest

from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList
from raysearch.errors import InputError
from raysearch.space.parameters import read_parameters
from raysearch.space.parsing import load_space
from tests.raysearch.space.space_files import BASE, changed, faults_of, searching, spec_of


def test_a_condition_reads_searched_and_fixed_values(folder: Path) -> None:
    spec = spec_of(folder)
    size = spec.parameters[3]
    assert size.active({"contrast.memory": True}, spec.config)
    assert not size.active({"contrast.memory": False}, spec.config)
    assert not size.active({}, spec.config), "the base config has no memory"
    assert spec.parameters[0].active({}, {})


def test_a_condition_may_list_values(folder: Path) -> None:
    words = {"type": "float", "low": 0.1, "high": 0.9, "when": {"optim.name": ["sgd", "adamw"]}}
    spec = spec_of(folder, searching("optim.poly_power", words))
    assert spec.parameters[0].active({"optim.name": "adamw"}, {})
    assert not spec.parameters[0].active({"optim.name": "other"}, {})


def test_true_is_not_one(folder: Path) -> None:
    spec = spec_of(folder)
    assert not spec.parameters[3].active({"contrast.memory": 1}, spec.config)


def test_gates_come_first_in_order(folder: Path) -> None:
    document = changed(space=dict(reversed(list(BASE["space"].items()))))
    spec = spec_of(folder, document)
    order = [p.path for p in spec.parameters_in_order]
    assert [p.path for p in spec.parameters] == list(document["space"])
    assert sorted(order) == sorted(document["space"])
    assert order.index("contrast.memory") < order.index("contrast.memory_size")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"contrast.memroy": True}, "no contrast.memroy; did you mean contrast.memory?"),
        ({"contrast": True}, "contrast is a section"),
        ({"contrast.memory": "yes"}, 'contrast.memory is never "yes"; it is searched over true, false'),
        ({"contrast.max_views": 999}, "contrast.max_views is never 999; it is searched over 1 to 256"),
        ({"optim.name": "adamw"}, 'optim.name is never "adamw"; it is "sgd" in the config'),
        ("contrast.memory", 'when = "contrast.memory"; it must be a mapping'),
    ],
)
def test_conditions_that_cannot_hold(folder: Path, when: Any, expected: str) -> None:
    document = changed()
    document["space"]["optim.lr"] = {"type": "float", "low": 0.1, "high": 0.2, "when": when}
    faults = faults_of(folder, document)
    assert len(faults) == 1
    assert faults[0].startswith("space.yaml: space.optim.lr")
    assert expected in faults[0]


@pytest.mark.parametrize(
    ("when", "what", "text", "kind"),
    [
        ("{kind: no}", "kind is never false", "no", "a truth value"),
        ("{kind: [yes, no]}", "kind is never true", "yes", "a truth value"),
        ("{kind: 1}", "kind is never 1", "1", "a number"),
        ("{kind: null}", "kind is never null", "null", "nothing"),
        ("{fixed: no}", "fixed is never false", "no", "a truth value"),
        ("{fixed: [on, no]}", "fixed is never [true, false]", "no", "a truth value"),
    ],
)
def test_a_word_that_yaml_takes_for_another_kind_is_to_be_quoted(
    folder: Path, when: str, what: str, text: str, kind: str
) -> None:
    (folder / "free.py").write_text("def train(config): ...\n")
    (folder / "free.yaml").write_text(
        'trainable: free.py:train\nconfig: {fixed: "no"}\n'
        'space: {kind: {type: categorical, choices: ["no", "yes", "1", "null"]},\n'
        f"        x: {{type: float, low: 0, high: 1, when: {when}}}}}\n"
        "objective: {metric: loss, mode: min}\nscheduler: {name: none, max_iters: 2}\n"
    )
    with pytest.raises(InputError) as caught:
        load_space(folder / "free.yaml")
    fix = f'write "{text}" in quotes: without them, YAML reads it as {kind}'
    assert (caught.value.faults[0].what, caught.value.faults[0].fix) == (f"when: {what}", fix)


def test_conditions_in_a_circle(folder: Path) -> None:
    words = {"type": "categorical", "choices": [1, 2]}
    document = changed(
        space={
            "optim.lr": {**words, "when": {"optim.nbb_mult": 1}},
            "optim.nbb_mult": {**words, "when": {"optim.lr": 1}},
        }
    )
    (fault,) = faults_of(folder, document)
    assert "depends on itself" in fault
    assert "optim.lr -> " in fault


def test_conditions_that_exclude_one_another(folder: Path) -> None:
    choices = {"type": "categorical", "choices": [0.1, 0.2]}
    document = changed(
        space={
            "optim.lr": choices,
            "optim.nbb_mult": {**choices, "when": {"optim.lr": 0.1}},
            "optim.poly_power": {**choices, "when": {"optim.lr": 0.2, "optim.nbb_mult": 0.1}},
        }
    )
    assert faults_of(folder, document) == [
        "space.yaml: space.optim.poly_power: its conditions contradict each other; remove one of them from when"
    ]


@pytest.mark.parametrize(
    ("choices", "first", "second"), [([0, False, None], "0", "false"), ([True, "x", 1.0], "true", "1.0")]
)
def test_truth_values_and_numbers_that_count_as_the_same_are_not_called_the_same(
    choices: list[Any], first: str, second: str
) -> None:
    faults = FaultList("space.yaml")
    read_parameters({"n": {"type": "categorical", "choices": choices}}, ConfigTree(None), faults)
    assert [str(fault) for fault in faults.found] == [
        f"space.yaml: space.n: the choices {first} and {second} count as the same value, so no search can tell them "
        "apart; keep one of the two"
    ]
