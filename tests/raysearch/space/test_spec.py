import copy
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList
from raysearch.config.sections import read_section
from raysearch.errors import InputError
from raysearch.space.parameters import read_parameters
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.settings import SECTIONS
from raysearch.space.spec import SearchSpec
from trainables.config import Config
from trainables.dotted_paths import with_values

TRAINABLES = """
import trainables.config
from pathlib import Path
from pydantic import BaseModel, Field

class T:
    Config = trainables.config.Config
    METRICS = frozenset({"miou", "loss"})
    DRAWN_METRICS = frozenset({"miou"})
    EVALUATED = frozenset({"miou"})

    @classmethod
    def evaluate(cls, config, checkpoint, split, progress):
        return {"miou": 0.5}

class Settings(BaseModel):
    lr: float = Field(0.1, gt=0)
    folder: Path | None = None
    extra: dict = {}
    shape: str = "round"

class Small:
    Config = Settings

class Needs(BaseModel):
    lr: float

class Needy:
    Config = Needs

def anything(config):
    pass
"""

BASE: dict[str, Any] = {
    "name": "camvid",
    "trainable": "t.py:T",
    "config": {"train": {"max_iters": 4500, "report_iters": 100}},
    "space": {
        "contrast.temperature": {"type": "float", "low": 0.05, "high": 0.5, "log": True},
        "contrast.max_views": {"type": "int", "low": 1, "high": 256, "log": True},
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.memory_size": {"type": "int", "low": 500, "high": 5000, "when": {"contrast.memory": True}},
    },
    "objective": {"metric": "miou", "mode": "max"},
    "search": {"algorithm": "tpe", "trials": 8, "seed": 0},
    "scheduler": {"name": "asha", "grace_iters": 500, "reduction_factor": 3},
    "resources": {"cpu": 1, "gpu": 0, "concurrent": "auto"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.py").write_text(TRAINABLES)
    return tmp_path


def changed(**changes: Any) -> dict[str, Any]:
    """Return the base document with whole keys replaced, or removed by None; `a__b` reaches one level down."""
    document = copy.deepcopy(BASE)
    for name, value in changes.items():
        key, _, below = name.partition("__")
        target, last = (document[key], below) if below else (document, key)
        if value is None:
            target.pop(last, None)
        else:
            target[last] = value
    return document


def spec_of(folder: Path, document: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any) -> SearchSpec:
    return parse_space(BASE if document is None else document, folder, "space.yaml", *args, **kwargs)


def faults_of(folder: Path, document: Mapping[str, Any], *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        spec_of(folder, document, *args, **kwargs)
    return [str(fault) for fault in caught.value.faults]


def text_faults(folder: Path, text: str | bytes) -> list[str]:
    path = folder / "space.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_space(path)
    return [str(fault).replace(f"{path}: ", "") for fault in caught.value.faults]


def searching(path: str, words: Any, **changes: Any) -> dict[str, Any]:
    return changed(space={path: words}, **changes)


def test_the_whole_file_becomes_a_spec(folder: Path) -> None:
    spec = spec_of(folder)
    assert spec.name == "camvid"
    assert [p.path for p in spec.parameters] == list(BASE["space"])
    assert [p.distribution for p in spec.parameters] == [
        FloatDistribution(0.05, 0.5, log=True),
        IntDistribution(1, 256, log=True),
        CategoricalDistribution([True, False]),
        IntDistribution(500, 5000),
    ]
    assert spec.objectives[0].metric == "miou"
    assert (spec.search.algorithm, spec.search.trials, spec.scheduler.name) == ("tpe", 8, "asha")
    assert (spec.max_iters, spec.grace_iters) == (4500, 500)


def test_sections_that_are_absent_take_their_defaults(folder: Path) -> None:
    document = {key: BASE[key] for key in ("trainable", "space", "objective")}
    spec = spec_of(folder, document)
    assert spec.name == "space"
    assert (spec.search.algorithm, spec.search.trials, spec.search.seed) == ("auto", 32, 0)
    assert (spec.scheduler.name, spec.scheduler.reduction_factor) == ("asha", 3)
    assert (spec.resources.cpu, spec.resources.gpu, spec.resources.concurrent) == (1.0, 0.0, "auto")
    assert spec.max_iters == Config().train.max_iters


def test_the_base_config_is_complete_and_holds_the_threads(folder: Path) -> None:
    config = spec_of(folder, changed(resources={"cpu": 3})).config
    expected = Config.model_validate({"train": {"max_iters": 4500, "report_iters": 100, "num_threads": 3}})
    assert config == expected.model_dump(mode="json")
    assert spec_of(folder, changed(resources={"cpu": 0.5})).config["train"]["num_threads"] == 1
    given = changed(resources={"cpu": 3}, config__train={"num_threads": 2, "max_iters": 600})
    assert spec_of(folder, given).config["train"]["num_threads"] == 2


def test_a_trial_config_holds_the_searched_values(folder: Path) -> None:
    spec = spec_of(folder)
    trial = spec.trial_config({"contrast.temperature": 0.25, "contrast.memory": True})
    assert (trial["contrast"]["temperature"], trial["contrast"]["memory"]) == (0.25, True)
    assert spec.config["contrast"]["temperature"] == 0.1, "the base config must stay as it is"
    assert spec.trial_config({}) == spec.config
    Config.model_validate(trial)


def test_the_config_of_one_trial_becomes_that_of_another_by_its_searched_values(folder: Path) -> None:
    """This includes the default and a conditional config: all of them contain the values of the shared iterations."""
    spec = spec_of(folder, changed(config__train={"max_iters": 600, "shared_iters": 50}))
    without_memory = {"contrast.temperature": 0.25, "contrast.max_views": 9, "contrast.memory": False}
    with_memory = {**without_memory, "contrast.temperature": 0.3, "contrast.memory": True, "contrast.memory_size": 700}
    default, one, other = (spec.trial_config(values) for values in ({}, without_memory, with_memory))
    assert default == {**spec.config, "train": default["train"]}
    assert dict(default["train"]["shared_values"]) == spec.default_values()
    assert with_values(default, with_memory) == with_values(one, with_memory) == other
    assert with_values(default, without_memory) == one


def test_a_trial_config_that_breaks_a_rule_is_refused(folder: Path) -> None:
    spec = spec_of(folder)
    with pytest.raises(InputError, match=r"a trial of camvid: contrast\.temperature: -1 must be greater than 0"):
        spec.trial_config({"contrast.temperature": -1})
    with pytest.raises(InputError, match=r"no contrast\.temprature; did you mean contrast\.temperature\?"):
        spec.trial_config({"contrast.temprature": 0.1})


def test_default_values_are_those_of_the_base_config(folder: Path) -> None:
    assert spec_of(folder, changed(config__contrast={"max_views": 7})).default_values() == {
        "contrast.temperature": 0.1,
        "contrast.max_views": 7,
        "contrast.memory": False,
        "contrast.memory_size": 2000,
    }
    free = searching(
        "a.b", {"type": "int", "low": 1, "high": 3}, trainable="t.py:anything", scheduler={"name": "none"}, config={}
    )
    assert spec_of(folder, free).default_values() == {}


def test_a_default_outside_the_searched_range_is_fine(folder: Path) -> None:
    spec = spec_of(folder, searching("optim.lr", {"type": "float", "low": 0.1, "high": 0.2}))
    assert spec.default_values() == {"optim.lr": 0.01}


def test_the_document_loads_again_to_an_equal_spec(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    document = changed(config__data={"dir": "images"}, config__model={"weights": "timm"})
    document["space"]["model.weights"] = {"type": "categorical", "choices": ["timm", "local.pth", None]}
    spec = spec_of(folder, document, ["search.trials=9", "space.contrast.temperature.low=1e-3"])
    elsewhere = tmp_path_factory.mktemp("run") / "space.yaml"
    elsewhere.write_text(spec.to_yaml())
    again = load_space(elsewhere)
    assert again == spec
    assert again.sha256() == spec.sha256()
    assert spec.search.trials == 9
    assert yaml.safe_load(spec.to_yaml())["config"]["data"]["dir"] == str(folder / "images")


def test_the_digest_follows_the_content_only(folder: Path) -> None:
    turned = dict(reversed(list(BASE.items())))
    assert spec_of(folder, turned).sha256() == spec_of(folder).sha256()
    assert spec_of(folder, changed(search__seed=1)).sha256() != spec_of(folder).sha256()


# Conditions


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


# Ranges


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


def test_a_value_wrong_only_beside_the_default_of_another_searched_one_is_right(folder: Path) -> None:
    document = changed(
        config__contrast={"loss_weight": 0.0},
        space={
            "loss.ce_coef": {"type": "float", "low": 0.0, "high": 1.0},
            "contrast.loss_weight": {"type": "float", "low": 0.0, "high": 1.0},
        },
    )
    assert len(spec_of(folder, document).parameters) == 2


# Paths of the config


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


def test_a_model_that_ignores_unknown_keys_is_checked_all_the_same(folder: Path) -> None:
    document = searching("lr", {"type": "float", "low": 0.1, "high": 0.2}, trainable="t.py:Small", config={"rl": 1})
    document["scheduler"] = {"name": "none"}
    assert faults_of(folder, document) == [
        "space.yaml: config.rl: the trial config has no such value; valid are lr, folder, extra, shape"
    ]


def test_a_mapping_field_is_open_below(folder: Path) -> None:
    document = searching("extra.deep", {"type": "int", "low": 1, "high": 2}, trainable="t.py:Small", config={})
    document["scheduler"] = {"name": "none"}
    assert spec_of(folder, document).trial_config({"extra.deep": 2})["extra"] == {"deep": 2}


def test_a_required_value_must_be_in_the_config(folder: Path) -> None:
    document = searching("lr", {"type": "float", "low": 0.1, "high": 0.2}, trainable="t.py:Needy", config={})
    document["scheduler"] = {"name": "none"}
    assert faults_of(folder, document) == ["space.yaml: config.lr: is missing; give it a value"]


def test_wrong_config_values_name_place_value_and_rule(folder: Path) -> None:
    config = {
        "optim": {"lr": -1.0, "name": "sdg", "lrr": 3},
        "loss": {"ce_weights": "median"},
        "model": 3,
        "train": {"max_iters": 10},
        "data": {"label_class_ids": [0, 300]},
        "optim.momentum": 0.3,
    }
    assert faults_of(folder, changed(config=config)) == [
        'space.yaml: config: the key "optim.momentum" contains dots; nest the sections instead',
        "space.yaml: config.optim.lr: -1.0 must be greater than 0; the default is 0.01",
        "space.yaml: config.optim.name: \"sdg\" must be 'sgd' or 'adamw'; did you mean sgd?",
        "space.yaml: config.optim.lrr: the trial config has no such value; did you mean optim.lr?",
        "space.yaml: config.loss.ce_weights: \"median\" must be 'max_over_count', 'inverse', 'one_minus_frequency' "
        "or 'inverse_log' or a list; the default is \"max_over_count\"",
        "space.yaml: config.model: 3 must be a mapping",
        "space.yaml: config.train: report_iters = 40 is larger than max_iters = 10; write a smaller one",
        "space.yaml: config.data.label_class_ids.1: 300 must be less than or equal to 255",
    ]


def test_an_alias_is_the_field(folder: Path) -> None:
    spec = spec_of(folder, changed(config__data={"label_list": [0, 1]}))
    assert spec.config["data"]["label_class_ids"] == [0, 1]
    assert spec.document["config"]["data"]["label_class_ids"] == [0, 1]
    assert "label_list" not in spec.document["config"]["data"]
    spec = spec_of(folder, changed(config__data={"label_class_ids": [0, 1]}), ["config.data.label_list=[0, 7]"])
    assert spec.config["data"]["label_class_ids"] == [0, 7]
    both = changed(config__data={"label_class_ids": [0, 1], "label_list": [0, 2]})
    assert "is another name of label_class_ids" in faults_of(folder, both)[0]


# Files and folders


def test_paths_start_at_the_space_file_and_overrides_at_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    cwd = Path("/some/where")
    document = changed(config__data={"dir": "../images"}, config__model={"weights": "~/w.pth"})
    spec = spec_of(folder, document)
    assert spec.config["data"]["dir"] == str(folder.parent / "images")
    assert spec.config["model"]["weights"] == "/home/someone/w.pth"
    spec = spec_of(folder, document, ["config.data.dir=../images"], ["model.weights", "w.pth"], cwd=cwd)
    assert spec.config["data"]["dir"] == "/some/images"
    assert spec.config["model"]["weights"] == "/some/where/w.pth"


def test_words_and_absent_paths_stay_as_they_are(folder: Path) -> None:
    config = spec_of(folder, changed(config__model={"weights": "timm"})).config
    assert config["model"]["weights"] == "timm"
    assert config["data"]["dir"] is None
    assert config["model"]["backbone"] == Config().model.backbone


def test_searched_paths_are_absolute_too(folder: Path) -> None:
    document = changed()
    document["space"]["model.weights"] = {"type": "categorical", "choices": ["timm", "w.pth", None]}
    document["space"]["optim.lr"] = {"type": "float", "low": 0.1, "high": 0.2, "when": {"model.weights": "w.pth"}}
    spec = spec_of(folder, document)
    assert spec.parameters[4].distribution == CategoricalDistribution(["timm", str(folder / "w.pth"), None])
    assert spec.parameters[5].when == {"model.weights": str(folder / "w.pth")}
    spec = spec_of(folder, document, ["space.model.weights.choices=[a.pth]", "space.optim.lr.when={}"], cwd=Path("/x"))
    assert spec.parameters[4].distribution == CategoricalDistribution(["/x/a.pth"])


def test_a_field_typed_as_a_path_is_one(folder: Path) -> None:
    document = searching(
        "lr", {"type": "float", "low": 0.1, "high": 0.2}, trainable="t.py:Small", config={"folder": "f", "shape": "s"}
    )
    document["scheduler"] = {"name": "none"}
    config = spec_of(folder, document).config
    assert (config["folder"], config["shape"]) == (str(folder / "f"), "s")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"optim": {"lr": 1e-4}, "data": {"dir": "images"}, "raysearch": {"value": 1}}'),
        ("c.yaml", "optim: {lr: 1e-4}\ndata: {dir: images}\nraysearch: {value: 1}\n"),
    ],
)
def test_the_config_may_be_a_file_with_overrides_on_top(folder: Path, name: str, text: str) -> None:
    (folder / "configs").mkdir()
    (folder / "configs" / name).write_text(text)
    spec = spec_of(
        folder,
        changed(config=f"configs/{name}", scheduler={"name": "none"}),
        ["config.optim.momentum=0.5"],
        ["optim.poly_power", "1e-1"],
    )
    assert spec.config["optim"]["lr"] == 1e-4
    assert (spec.config["optim"]["momentum"], spec.config["optim"]["poly_power"]) == (0.5, 0.1)
    assert spec.config["data"]["dir"] == str(folder / "configs" / "images")
    assert "raysearch" not in spec.document["config"]


def test_faults_of_a_config_file_name_that_file(folder: Path) -> None:
    (folder / "c.json").write_text('{"optim": {"lr": -1}}')
    assert faults_of(folder, changed(config="c.json", scheduler=None))[0].startswith(f"{folder}/c.json: optim.lr: -1 ")
    (folder / "c.json").write_text('{"optim":\n {"lr": }}')
    assert faults_of(folder, changed(config="c.json"))[0].startswith(f"{folder}/c.json: line 2: ")
    assert "there is no such file" in faults_of(folder, changed(config="absent.json"))[0]
    assert "config: is a list" in faults_of(folder, changed(config=[1]))[0]


# Overrides


def test_set_reaches_every_section(folder: Path) -> None:
    spec = spec_of(
        folder,
        None,
        [
            "name=other",
            "search.trials=5",
            "resources.gpu=1",
            "scheduler={name: none}",
            "objective.metric=loss",
            "config.optim.lr=1e-3",
            "config.contrast.temperature=0.3",
            "space.contrast.temperature.low=1e-2",
            "space.contrast.memory.choices=[true]",
            "space.contrast.memory_size.when.contrast.memory=true",
            "space.optim.momentum={type: float, low: 0.1, high: 0.9}",
        ],
    )
    assert (spec.name, spec.search.trials, spec.resources.gpu, spec.scheduler.name) == ("other", 5, 1.0, "none")
    assert spec.objectives[0].metric == "loss"
    assert spec.config["optim"]["lr"] == 1e-3
    assert spec.default_values()["contrast.temperature"] == 0.3
    assert spec.parameters[0].distribution == FloatDistribution(0.01, 0.5, log=True)
    assert spec.parameters[2].distribution == CategoricalDistribution([True])
    assert spec.parameters[3].when == {"contrast.memory": True}
    assert spec.parameters[4].path == "optim.momentum"


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
    ("changes", "expected"),
    [
        ({"space": {"train.seed": {"type": "int", "low": 0, "high": 9}}}, "train.seed is searched"),
        (
            {"search": {"confirm": {"split": "test"}}, "objective__metric": "loss"},
            "loss cannot be computed on the test",
        ),
        ({"trainable": "t.py:Small", "config": None, "space": None}, "the config of "),
    ],
)
def test_what_keeps_a_search_from_being_confirmed(folder: Path, changes: dict[str, Any], expected: str) -> None:
    faults = faults_of(folder, changed(**{"search": {"confirm": True}, **changes}))
    assert [fault for fault in faults if fault.startswith(f"space.yaml: search.confirm: {expected}")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("search.trials", "has no =; write --set dotted.path=value"),
        ("serach.trials=3", "the space file has no serach; did you mean search?"),
        ("search.trails=3", "search has no trails; did you mean trials?"),
        ("name.x=3", "name has no x"),
        ("config.optim.lrr=3", "the trial config has no optim.lrr; did you mean optim.lr?"),
        ("config.optim=3", "optim is a section"),
        ("config.optim.lr=-2", "-2 must be greater than 0"),
        ("config.optim.lr=[1", "write the value as in YAML"),
        ("search.trials=0", "0 must be greater than or equal to 1"),
        ("space.contrast.temprature.low=1", "contrast.temprature is not searched; did you mean contrast.temperature?"),
        ("space.contrast.temperature.lo=1", "is not known here; did you mean low?"),
    ],
)
def test_wrong_overrides_are_named_as_given(folder: Path, given: str, expected: str) -> None:
    (fault,) = faults_of(folder, BASE, [given])
    assert fault.startswith(f"--set {given}: ")
    assert expected in fault


def test_trailing_words_are_pairs_of_path_and_value(folder: Path) -> None:
    assert spec_of(folder, None, (), ["optim.lr", "1e-4", "optim.name", "sgd"]).config["optim"]["lr"] == 1e-4
    faults = faults_of(folder, BASE, (), ["optim.lrr", "1", "optim.name", "x", "optim.lr"])
    assert faults == [
        "optim.lr: has no value after it; overrides come in pairs: a.b.c value",
        "optim.lrr 1: the trial config has no optim.lrr; did you mean optim.lr?",
        "optim.name x: \"x\" must be 'sgd' or 'adamw'; the default is \"sgd\"",
    ]


def test_an_override_of_the_trainable_starts_at_the_working_directory(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "u.py").write_text(TRAINABLES)
    spec = spec_of(folder, None, ["trainable=u.py:T"], cwd=folder / "sub")
    assert spec.trainable.source_file == folder / "sub" / "u.py"
    assert spec.document["trainable"] == f"{folder}/sub/u.py:T"


# What the config does not use


def test_a_searched_value_that_no_trial_uses(folder: Path) -> None:
    words = {"type": "int", "low": 500, "high": 5000}
    (fault,) = faults_of(folder, searching("contrast.memory_size", words))
    assert fault.startswith("space.yaml: space.contrast.memory_size: no trial would use it: contrast.memory is false;")
    assert spec_of(folder, searching("contrast.memory_size", words, config__contrast={"memory": True})).parameters
    (fault,) = faults_of(
        folder, searching("data.drawn.seed", {"type": "int", "low": 0, "high": 9}, config__data={"dir": "x"})
    )
    assert "data.dir is given" in fault


def test_a_value_used_behind_searched_gates_is_used(folder: Path) -> None:
    gates = {
        "contrast.memory_size": {"type": "int", "low": 500, "high": 5000},
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.loss_weight": {"type": "float", "low": 0.0, "high": 1.0},
        "loss.ce_weights": {"type": "categorical", "choices": ["inverse", "inverse_log"]},
        "loss.ce_weight_power": {"type": "float", "low": 0.0, "high": 1.0},
    }
    closed = {"loss_weight": 0.0}
    assert len(spec_of(folder, changed(space=gates, config__contrast=closed)).parameters) == 5
    without = {path: words for path, words in gates.items() if path != "contrast.loss_weight"}
    faults = faults_of(folder, changed(space=without, config__contrast=closed))
    assert [fault.split(": ")[1] for fault in faults] == ["space.contrast.memory_size", "space.contrast.memory"]


def test_a_value_unused_under_its_own_condition(folder: Path) -> None:
    document = changed()
    document["space"]["contrast.pixel_update_freq"] = {
        "type": "int",
        "low": 1,
        "high": 9,
        "when": {"contrast.memory": False},
    }
    (fault,) = faults_of(folder, document)
    assert "space.contrast.pixel_update_freq: no trial would use it: contrast.memory is false" in fault


def test_values_that_no_trial_uses_are_said(folder: Path) -> None:
    weights = {"ce_weights": [1, 5, 10, 10], "ce_weight_power": 0.0}
    spec = spec_of(folder, changed(config__loss=weights, config__optim={"name": "adamw", "momentum": 0.5}))
    assert (
        "loss.ce_weights is given but has no effect: loss.ce_weight_power is 0 (1 takes weights as they are)"
        in spec.notices
    )
    assert "optim.momentum is given but has no effect: optim.name is adamw" in spec.notices
    searched = searching(
        "loss.ce_weight_power", {"type": "float", "low": 0.0, "high": 1.0}, config__loss={"ce_weights": [1, 5, 10, 10]}
    )
    assert not [notice for notice in spec_of(folder, searched).notices if "ce_weight" in notice]


def test_shared_iterations_of_a_search_are_not_without_effect(folder: Path) -> None:
    document = changed(config__train={**BASE["config"].get("train", {}), "shared_iters": 5})
    assert not spec_of(folder, document).notices


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (
            {"name": "none", "grace_iters": 90, "reduction_factor": 4},
            "scheduler.grace_iters, scheduler.reduction_factor are given but have no effect: scheduler.name is none, "
            "so no trial is stopped",
        ),
        (
            {"name": "asha", "grace_iters": 90, "pilot_trials": 9},
            "scheduler.pilot_trials is given but has no effect: scheduler.grace_iters is not auto",
        ),
        (
            {"name": "median", "grace_iters": 90, "reduction_factor": 4},
            "scheduler.reduction_factor is given but has no effect: scheduler.name is median, which has no rungs",
        ),
        ({"name": "asha", "pilot_trials": 9, "reduction_factor": 4}, None),
        ({"name": "median", "reduction_factor": 4}, None),
    ],
)
def test_settings_that_the_rule_does_not_use_are_said(
    folder: Path, scheduler: dict[str, Any], expected: str | None
) -> None:
    assert spec_of(folder, changed(scheduler=scheduler)).notices == ((expected,) if expected else ())


def test_first_points_of_nothing_are_said(folder: Path) -> None:
    (line,) = spec_of(folder, changed(search={"first_points": 3})).notices
    assert line == "search.first_points is given but has no effect: search.warm_start is absent"


def test_of_a_file_that_a_program_wrote_only_changed_values_are_said(folder: Path) -> None:
    config = spec_of(folder, changed(config__optim={"name": "adamw"})).config
    del config["data"]["augmentation"]["fit"]  # as an earlier version wrote it
    assert not spec_of(folder, changed(config=config)).notices
    config["optim"]["momentum"] = 0.5
    assert spec_of(folder, changed(config=config)).notices == (
        "optim.momentum is given but has no effect: optim.name is adamw",
    )


# Budget and rungs


@pytest.mark.parametrize(
    ("scheduler", "warmup", "expected"),
    [
        ({"grace_iters": 500}, 500, "grace_iters: 500 is not after the warm-up, which ends at iteration 500; "),
        ({"grace_iters": 500}, 700, "give at least 701"),
        ({"grace_iters": 5000}, 0, "5000 is more than the full budget of 4500 iterations; give at most 4500"),
        ({"grace_iters": 500, "max_iters": 400}, 0, "500 is more than the full budget of 400"),
        ({"max_iters": 4501}, 0, "max_iters: 4501 is more than the config's own budget of 4500 iterations"),
        ({"max_iters": 4501, "name": "none"}, 0, "max_iters: 4501 is more than the config's own budget"),
        ({"reduction_factor": 1}, 0, "reduction_factor: 1 must be greater than or equal to 2"),
        ({"grace_iters": 0}, 0, "grace_iters: 0 must be greater than or equal to 1"),
        ({"name": "hyperbolic"}, 0, "\"hyperbolic\" must be 'asha', 'hyperband', 'pasha', 'median' or 'none'"),
        ({"audit_fraction": 1.5}, 0, "audit_fraction: 1.5 must be less than or equal to 1"),
        (
            {"name": "hyperband", "grace_iters": 4500},
            0,
            "grace_iters: 4500 of 4500 iterations, but hyperband only stops",
        ),
        ({"name": "median", "grace_iters": 4500}, 0, "below the full budget; give grace_iters of at most 4499"),
        (
            {"name": "pasha", "grace_iters": 1500},
            0,
            "two rungs below the full budget; give grace_iters of at most 1499",
        ),
        (
            {"name": "hyperband", "form": "promotion"},
            0,
            "scheduler.form: promotion, but hyperband only has the stopping form; set scheduler.name to asha",
        ),
        (
            {"name": "median", "slack": "auto"},
            0,
            "scheduler.slack: auto, but median has no rungs to which slack applies; set scheduler.name to asha",
        ),
        ({"slack": -0.1}, 0, "scheduler.slack"),
        (
            {"name": "pasha", "grace_iters": "auto"},
            0,
            "scheduler.grace_iters: with auto, the first rung may be so late that pasha",
        ),
        ({"grace_iters": "auto", "pilot_trials": 4}, 0, "pilot_trials: 4 must be greater than or equal to 5"),
        ({"name": "pasha"}, 1499, "scheduler: 1500 of 4500 iterations is the first rung, but pasha needs two rungs"),
        ({}, 4500, "the warm-up ends at iteration 4500 and the full budget at 4500, so no rung fits in between"),
    ],
)
def test_wrong_schedulers(folder: Path, scheduler: dict[str, Any], warmup: int, expected: str) -> None:
    faults = faults_of(folder, changed(scheduler=scheduler, config__contrast={"warmup_iters": warmup}))
    (fault,) = [fault for fault in faults if fault.startswith("space.yaml: scheduler")]
    assert expected in fault
    assert all("contrast never starts" in other for other in faults if other != fault)


def test_the_latest_searched_warmup_counts(folder: Path) -> None:
    document = changed(config__contrast={"loss_weight": 0.0}, scheduler={"grace_iters": 900})
    document["space"] = {
        "contrast.warmup_iters": {"type": "int", "low": 0, "high": 1000},
        "contrast.loss_weight": {"type": "float", "low": 0.0, "high": 1.0},
    }
    (fault,) = faults_of(folder, document)
    assert "ends at iteration 1000; give at least 1001" in fault
    document["space"].pop("contrast.loss_weight")
    assert "no trial would use it" in faults_of(folder, document)[0]


@pytest.mark.parametrize(
    ("scheduler", "warmup", "max_iters", "grace_iters"),
    [
        ({}, 0, 4500, 1),
        ({}, 600, 4500, 601),
        ({"name": "hyperband"}, 0, 4500, 500),
        ({"name": "hyperband", "reduction_factor": 4}, 0, 4500, 281),
        ({"name": "hyperband", "max_iters": 90}, 0, 90, 10),
        ({"name": "hyperband", "max_iters": 4}, 0, 4, 1),
        ({"name": "hyperband"}, 600, 4500, 601),
        ({"name": "none"}, 600, 4500, None),
        ({"grace_iters": 4500}, 0, 4500, 4500),
        ({"grace_iters": "auto"}, 600, 4500, 601),
    ],
)
def test_budget_and_first_rung(
    folder: Path, scheduler: dict[str, Any], warmup: int, max_iters: int, grace_iters: int | None
) -> None:
    spec = spec_of(folder, changed(scheduler=scheduler, config__contrast={"warmup_iters": warmup}))
    assert (spec.max_iters, spec.grace_iters) == (max_iters, grace_iters)


def test_pilots_find_the_first_rung_of_asha_where_none_is_given(folder: Path) -> None:
    def finds(**scheduler: Any) -> bool:
        return spec_of(folder, changed(scheduler=scheduler)).scheduler.finds_first_rung

    assert finds()
    assert finds(name="hyperband", grace_iters="auto")
    assert not finds(grace_iters=7)
    assert not finds(name="pasha")


def test_asha_needs_a_budget(folder: Path) -> None:
    words = {"type": "int", "low": 1, "high": 2}
    document = searching("x", words, trainable="t.py:anything", config={}, scheduler={})
    (fault,) = faults_of(folder, document)
    assert "scheduler.max_iters: is missing, and the trainable states no budget of its own" in fault
    spec = spec_of(folder, {**document, "scheduler": {"max_iters": 27}})
    assert (spec.max_iters, spec.grace_iters) == (27, 1)


# Objective, algorithm, resources


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


SEVERAL = [BASE["objective"], {"metric": "loss", "mode": "min"}, {"metric": "peak_memory_bytes", "mode": "min"}]


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


def test_cmaes_knows_one_objective(folder: Path) -> None:
    (fault,) = faults_of(folder, changed(objective=SEVERAL, search={"algorithm": "cmaes"}))
    assert "search.algorithm: cmaes supports a single objective, but there are 3; use tpe, nsga2 or gp" in fault


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"objective": BASE["objective"]}, "scheduler.by: nondominated_rank needs several objectives"),
        (
            {"name": "median"},
            "scheduler.by: nondominated_rank only works with asha in its stopping form, not with median",
        ),
        (
            {"form": "promotion"},
            "scheduler.by: nondominated_rank only works with asha in its stopping form, not with asha,",
        ),
        ({"slack": 0.1}, "scheduler.slack: 0.1, but slack does not apply to ranks; set slack to 0"),
        ({"grace_iters": "auto"}, "scheduler.grace_iters: auto only uses the first objective"),
    ],
)
def test_nondominated_ranks_need_several_objectives_and_plain_asha(
    folder: Path, changes: dict[str, Any], expected: str
) -> None:
    by_rank = {"by": "nondominated_rank"}
    assert spec_of(folder, changed(objective=SEVERAL, scheduler=by_rank)).scheduler.by == "nondominated_rank"
    objective = changes.pop("objective", SEVERAL)
    (fault,) = faults_of(folder, changed(objective=objective, scheduler={**by_rank, **changes}))
    assert expected in fault


def test_grid_needs_steps_and_cmaes_numbers(folder: Path) -> None:
    (fault,) = faults_of(folder, changed(search={"algorithm": "grid"}))
    assert "space.contrast.temperature: a grid search needs a step for each float" in fault
    document = changed(search={"algorithm": "grid"})
    document["space"]["contrast.temperature"] = {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1}
    assert spec_of(folder, document).search.algorithm == "grid"
    words = {"type": "categorical", "choices": [True, False]}
    (fault,) = faults_of(folder, searching("contrast.memory", words, search={"algorithm": "cmaes"}))
    assert "search.algorithm: cmaes needs at least one numeric parameter" in fault


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


# The file


@pytest.mark.parametrize("space", [None, {}])
def test_a_missing_space(folder: Path, space: Any) -> None:
    document = {**BASE, "space": space}
    (fault,) = faults_of(folder, document)
    assert fault.startswith("space.yaml: space: is missing or empty")


def test_unknown_keys_at_the_top(folder: Path) -> None:
    assert faults_of(folder, changed(objectve={})) == [
        "space.yaml: objectve: is not known here; did you mean objective?"
    ]


@pytest.mark.parametrize("name", ["a/b", "", ".hidden", ["x"], True, "a\nb"])
def test_names_that_cannot_be_a_folder(folder: Path, name: Any) -> None:
    (fault,) = faults_of(folder, changed(name=name))
    assert fault.startswith("space.yaml: name: ")


def test_a_name_may_be_a_number_or_chinese(folder: Path) -> None:
    assert spec_of(folder, changed(name=2024)).name == "2024"
    assert spec_of(folder, changed(name="分割")).name == "分割"


def test_a_trainable_that_does_not_load(folder: Path) -> None:
    document = changed(trainable="t.py:Tt", search={"trials": 0})
    document["space"]["contrast.max_views"]["when"] = {"optim.name": "sgd"}
    faults = faults_of(folder, document)
    assert len(faults) == 2, "the rest of the file is checked all the same"
    assert re.fullmatch(r"space\.yaml: trainable: .*/t\.py:Tt the module has no Tt; did you mean T\?", faults[0])
    assert "trainable: 3 is a number, not text" in faults_of(folder, changed(trainable=3))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b\n", "is a list; it must be a mapping"),
        ("text", "is text; it must be a mapping"),
        ("a: 1\nb: [1, 2\n", "line 3: "),
        ("a: 1\n b: 2\n", "line 2: "),
        ("a:\n\tb: 1\n", "line 2: "),
        ("a: !!python/object:os.system {}\n", "line 1: could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "line 2: "),
        ("", "is empty; it must be a mapping"),
        ("# only a comment\n", "is nothing; it must be a mapping"),
        (b"name: caf\xe9\n", "is not UTF-8 text (byte 9)"),
        ("a: \x07\n", "line 1: holds the character"),
        ("a: " + "[" * 2000, "nested too deeply"),
    ],
)
def test_files_that_are_no_mapping(folder: Path, text: str | bytes, expected: str) -> None:
    (fault,) = text_faults(folder, text)
    assert expected in fault


def test_files_that_cannot_be_read(folder: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: there is no such file"):
        load_space(folder / "absent.yaml")
    with pytest.raises(InputError, match="is a folder; name the file in it"):
        load_space(folder)


def test_keys_given_twice_and_keys_that_are_not_text(folder: Path) -> None:
    text = "name: a\non: 1\nname: b\ntrainable: t.py:T\nobjective: {metric: miou, mode: max, 3: x, mode: min}\n"
    faults = text_faults(folder, text)
    assert faults[:2] == [
        "line 3: name is given a second time; keep one",
        "line 5: mode is given a second time; keep one",
    ]
    assert faults[2].endswith("the key true is a truth value, but keys must be text; "
                              "write it in quotes (YAML reads on, off, yes and no as truth values)")  # fmt: skip
    assert "objective: the key 3 is a number" in " ".join(faults)


def test_numbers_of_the_file_are_numbers(folder: Path) -> None:
    text = """
name: 2024-01-01
trainable: t.py:T
config: {optim: {lr: 1e-4, weight_decay: 5E-4}, train: {max_iters: 1e3}}
space:
  optim.nbb_mult: {type: float, low: 1e-4, high: 1E+1, log: true}
  contrast.proj_dim: {type: categorical, choices: [1, 2]}
  optim.momentum: {type: categorical, choices: [1e-1, .5e0]}
objective: {metric: miou, mode: max}
search: {trials: 1e1}
"""
    (folder / "space.yaml").write_text(text)
    spec = load_space(folder / "space.yaml")
    assert spec.name == "2024-01-01"
    assert (spec.config["optim"]["lr"], spec.config["optim"]["weight_decay"]) == (1e-4, 5e-4)
    assert (spec.config["train"]["max_iters"], spec.search.trials) == (1000, 10)
    assert spec.parameters[0].distribution == FloatDistribution(1e-4, 10.0, log=True)
    assert spec.parameters[2].distribution == CategoricalDistribution([0.1, 0.5])


def test_text_that_looks_like_a_number_stays_text_when_written(folder: Path) -> None:
    document = searching(
        "shape", {"type": "categorical", "choices": ["1e-4", "yes", "2024-01-01", "null", "é"]}, trainable="t.py:Small"
    )
    document |= {"config": {}, "scheduler": {"name": "none"}, "name": "1e5"}
    spec = spec_of(folder, document)
    (folder / "again.yaml").write_text(spec.to_yaml())
    assert load_space(folder / "again.yaml") == spec


def test_all_faults_at_once_in_the_order_of_the_file(folder: Path) -> None:
    document = {
        "resources": {"cpu": 0},
        "space": {
            "contrast.memory": {"type": "categorical", "choices": []},
            "optim.lr": {"type": "float", "low": -1.0, "high": 0.1},
        },
        "search": {"trials": 0},
        "config": {"optim": {"momentum": 3.0}},
        "objective": {"metric": "iou", "mode": "max"},
        "trainable": "t.py:T",
    }
    places = [fault.split(": ")[1] for fault in faults_of(folder, document)]
    assert places == [
        "resources.cpu",
        "space.contrast.memory",
        "space.optim.lr",
        "search.trials",
        "config.optim.momentum",
        "objective.metric",
    ]


def test_reading_a_space_file_needs_neither_ray_nor_torch() -> None:
    program = "import sys, raysearch.space.parsing; print(sorted({'ray', 'torch'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_quadratic_example(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    spec = load_space(Path(__file__).parents[3] / "search_spaces" / "quadratic.yaml")
    assert [p.path for p in spec.parameters] == ["rate", "method", "momentum"]
    assert (spec.max_iters, spec.grace_iters) == (20, 2)
    trainable = spec.trainable.target(spec.trial_config({"rate": 0.9, "method": "momentum", "momentum": 0.6}))
    reports = [trainable.step() for _ in range(10)]
    assert [report["iteration"] for report in reports] == list(range(1, 11))
    assert reports[-1]["loss"] < 0.1 * reports[0]["loss"]
    trainable.save_checkpoint(str(tmp_path))
    other = spec.trainable.target(spec.trial_config({"rate": 0.9, "method": "momentum", "momentum": 0.6}))
    other.load_checkpoint(str(tmp_path))
    assert other.step() == trainable.step()


@pytest.mark.parametrize(
    ("metric", "slack", "expected"),
    [
        ("miou", "auto", []),
        ("loss", 0.1, []),
        (
            "loss",
            "auto",
            ["scheduler.slack: auto is 0 for loss: the trainable reports draws of miou only; give a number"],
        ),
    ],
)
def test_automatic_slack_without_draws_is_told(folder: Path, metric: str, slack: Any, expected: list[str]) -> None:
    document = changed()
    document |= {"objective": {"metric": metric, "mode": "max"}, "scheduler": {"name": "asha", "slack": slack}}
    assert [line for line in spec_of(folder, document).notices if "slack" in line] == expected
