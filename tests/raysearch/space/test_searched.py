"""Tests of the searched values of a space file: their ranges, and their paths in the config."""

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tests.raysearch.space.space_files import BASE, changed, faults_of, searching, spec_of


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            {"type": "float", "low": 0.0, "high": 1.0, "log": True},
            "space.optim.lr: low = 0.0 with log: true; a log scale needs low > 0, for example 1e-5",
        ),
        ({"type": "float", "low": 2.0, "high": 1.0}, "low = 2.0 is above high = 1.0; swap them"),
        ({"type": "float", "low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "step = 0.1 with log: true"),
        ({"type": "float", "low": 0.1, "high": 1.0, "step": -0.1}, "step = -0.1; a step must be greater than 0"),
        ({"type": "flaot", "low": 0.1, "high": 1.0}, 'type = "flaot" is not known; did you mean float?'),
        ({"type": "normal"}, 'type = "normal" is not known; valid are float, int, categorical'),
        (
            {"type": "loguniform", "low": 0.1, "high": 1.0},
            '"loguniform" is not known; write {type: float, low: …, high: …, l',
        ),
        ({"distribution": "int_uniform", "min": 1, "max": 9}, "type is missing; write {type: int, low: …, high: …}"),
        ({"low": 0.1, "high": 1.0}, "type is missing; valid are float, int, categorical"),
        ({"type": "float", "low": 0.1, "high": 1.0, "stpe": 1}, "stpe: is not known here; did you mean step?"),
        ({"type": "float", "low": 0.1}, "high: is missing"),
        ({"type": "float", "low": True, "high": 1.0}, "true is a truth value, not a number"),
        ({"type": "float", "low": "small", "high": 1.0}, '"small" must be a valid number'),
        ({"type": "float", "low": 0.1, "high": float("inf")}, "must be a finite number"),
        ({"type": "categorical", "choices": []}, "choices is empty"),
        ({"type": "categorical", "choices": 0.1}, "must be a list"),
        ({"type": "categorical", "choices": [{"a": 1}, 0.5]}, 'the choice {"a": 1} is a mapping'),
        ({"type": "categorical", "choices": [[1, {"a": 1}], 0.5]}, 'the choice [1, {"a": 1}] is a list with a mapping'),
        ({"type": "categorical", "choices": [0.5, 0.1, 0.5]}, "the choice 0.5 is given twice; keep one"),
        ({"type": "categorical", "choices": [1, 1.0]}, "the choices 1 and 1.0 count as the same value"),
        (0.1, "0.1 is a number; it must be a mapping: {type: float, low"),
        # Against the field of the config:
        ({"type": "float", "low": 0.0, "high": 1.0}, "low = 0.0 must be greater than 0"),
        ({"type": "categorical", "choices": [0.1, -1.0]}, "the choice -1.0 must be greater than 0"),
        ({"type": "categorical", "choices": ["0.1"]}, 'the choice "0.1" is text that the trial config converts to 0.1'),
        ({"type": "categorical", "choices": ["big"]}, 'the choice "big" must be a valid number'),
        ({"type": "categorical", "choices": [True]}, "the choice true is a truth value that the trial config converts"),
    ],
)
def test_wrong_ranges(folder: Path, words: Any, expected: str) -> None:
    faults = faults_of(folder, searching("optim.lr", words))
    assert len(faults) == 1
    assert faults[0].startswith("space.yaml: space.optim.lr")
    assert expected in faults[0]


@pytest.mark.parametrize(
    ("path", "words", "expected"),
    [
        ("contrast.max_views", {"type": "int", "low": 0, "high": 9, "log": True}, "needs low >= 1"),
        ("contrast.max_views", {"type": "int", "low": 1, "high": 9, "log": True, "step": 2}, "step = 2 with log: true"),
        ("contrast.max_views", {"type": "int", "low": 1.5, "high": 9}, "low: 1.5 must be a whole number"),
        ("contrast.max_views", {"type": "float", "low": 1.0, "high": 9.0}, "use type: int"),
        ("contrast.max_views", {"type": "float", "low": 1.5, "high": 9.5}, "low = 1.5 must be a whole number"),
        ("model.output_stride", {"type": "int", "low": 2, "high": 32}, "17 (between low and high) must be 2, 4, 8"),
        ("optim.name", {"type": "categorical", "choices": ["sgd", "adam"]}, "did you mean adamw?"),
        ("train.report_iters", {"type": "int", "low": 1, "high": 9000}, "report_iters = 9000 is larger than max_iters"),
    ],
)
def test_ranges_that_do_not_fit_the_field(folder: Path, path: str, words: Any, expected: str) -> None:
    assert any(expected in fault for fault in faults_of(folder, searching(path, words)))


def test_whole_limits_of_a_float_and_text_that_is_a_number(folder: Path) -> None:
    words = {"type": "float", "low": "1e-4", "high": 1, "log": True}
    assert spec_of(folder, searching("optim.lr", words)).parameters[0].distribution == FloatDistribution(
        1e-4, 1.0, log=True
    )
    whole = {"type": "int", "low": 1, "high": 4.0}
    assert spec_of(folder, searching("optim.lr", whole)).parameters[0].distribution == IntDistribution(1, 4)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("contrast.temprature", "the trial config has no contrast.temprature; did you mean contrast.temperature?"),
        ("optimizer.lr", "did you mean optim.lr?"),
        ("temperature", "did you mean contrast.temperature?"),
        ("optim.lr.x", "did you mean optim.lr?"),
        ("contrast", "contrast is a section of the trial config, not a value; name a value in it, such as contrast."),
        ("", "the trial config has no "),
    ],
)
def test_a_path_that_does_not_exist(folder: Path, path: str, expected: str) -> None:
    (fault,) = faults_of(folder, searching(path, {"type": "float", "low": 0.1, "high": 0.2}))
    assert expected in fault


def test_without_a_model_any_path_goes(folder: Path) -> None:
    document = searching(
        "any.thing", {"type": "int", "low": 1, "high": 2}, trainable="t.py:anything", config={"any": {"other": 1}}
    )
    document["scheduler"] = {"name": "none"}
    spec = spec_of(folder, document)
    assert spec.trial_config({"any.thing": 2}) == {"any": {"other": 1, "thing": 2}}
    assert (spec.max_iters, spec.grace_iters) == (None, None)


def test_a_mapping_field_is_open_below(folder: Path) -> None:
    document = searching("extra.deep", {"type": "int", "low": 1, "high": 2}, trainable="t.py:Small", config={})
    document["scheduler"] = {"name": "none"}
    assert spec_of(folder, document).trial_config({"extra.deep": 2})["extra"] == {"deep": 2}


def test_searched_paths_are_absolute_too(folder: Path) -> None:
    document = changed()
    document["space"]["model.weights"] = {"type": "categorical", "choices": ["timm", "w.pth", None]}
    document["space"]["optim.lr"] = {"type": "float", "low": 0.1, "high": 0.2, "when": {"model.weights": "w.pth"}}
    spec = spec_of(folder, document)
    assert spec.parameters[4].distribution == CategoricalDistribution(["timm", str(folder / "w.pth"), None])
    assert spec.parameters[5].when == {"model.weights": str(folder / "w.pth")}
    spec = spec_of(folder, document, ["space.model.weights.choices=[a.pth]", "space.optim.lr.when={}"], cwd=Path("/x"))
    assert spec.parameters[4].distribution == CategoricalDistribution(["/x/a.pth"])


def test_set_means_the_longest_searched_path(folder: Path) -> None:
    document = changed(
        trainable="t.py:anything",
        config={},
        scheduler={"name": "none"},
        space={
            "a": {"type": "float", "low": 0.0, "high": 1.0},
            "a.high": {"type": "float", "low": 0.0, "high": 1.0},
        },
    )
    spec = spec_of(folder, document, ["space.a.high.low=0.5", "space.a.low=0.25"])
    assert [p.distribution for p in spec.parameters] == [FloatDistribution(0.25, 1.0), FloatDistribution(0.5, 1.0)]


@pytest.mark.parametrize("space", [None, {}])
def test_a_missing_space(folder: Path, space: Any) -> None:
    document = {**BASE, "space": space}
    (fault,) = faults_of(folder, document)
    assert fault.startswith("space.yaml: space: is missing or empty")
