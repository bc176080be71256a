from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from raysearch.config.trial_config import ConfigTree, load_config, nearest
from raysearch.errors import InputError
from trainables.config import Config
from trainables.dotted_paths import ABSENT, assign, lookup, with_values


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = Field(0.1, gt=0)


class Other(BaseModel):
    momentum: float = 0.9


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int = 1


class Model(BaseModel):
    optim: Inner | Other | None = None
    inner: Inner = Inner()
    free: Open = Open()
    files: list[str] = Field([], json_schema_extra={"path": True, "words": ["none"]})


def test_lookup_assign_and_copies() -> None:
    config = {"a": {"b": 1}, "c": None}
    assert (lookup(config, "a.b"), lookup(config, "c"), lookup(config, "a.b.c"), lookup(config, "x")) == (
        1,
        None,
        ABSENT,
        ABSENT,
    )
    copied = with_values(config, {"a.d": 2, "c.e": 3})
    assert copied == {"a": {"b": 1, "d": 2}, "c": {"e": 3}}
    assert config == {"a": {"b": 1}, "c": None}
    assign(config, "a", 5)
    assert config == {"a": 5, "c": None}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("inner.rate", "value"),
        ("optim.rate", "value"),
        ("optim.momentum", "value"),
        ("inner", "section"),
        ("optim", "section"),
        ("free.anything.goes", "value"),
        ("files", "value"),
        ("files.x", "unknown"),
        ("inner.x", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_a_path_names(path: str, kind: str) -> None:
    assert ConfigTree(Model).resolve(path).kind == kind


def test_all_paths_of_the_config_are_values_with_the_right_spelling() -> None:
    tree = ConfigTree(Config)
    assert len(tree.paths) == len(set(tree.paths)) > 50
    dumped = Config().model_dump()
    assert all(tree.resolve(path).kind == "value" and lookup(dumped, path) is not ABSENT for path in tree.paths)
    assert tree.resolve("data.label_list").path == "data.label_class_ids"


def test_path_fields_and_their_words() -> None:
    tree = ConfigTree(Model)
    assert tree.absolute("files", ["a", "none", "/b"], Path("/base")) == ["/base/a", "none", "/b"]
    assert tree.absolute("inner.rate", "a", Path("/base")) == "a"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("optim.ratte", "did you mean optim.rate?"),
        ("RATE", "did you mean optim.rate?"),
        ("zzz", "valid are optim.rate, loss.power"),
    ],
)
def test_nearest(name: str, expected: str) -> None:
    assert nearest(name, ["optim.rate", "loss.power"]) == expected


def test_nearest_without_anything_near_among_many() -> None:
    assert nearest("zzz", [f"a{i}" for i in range(30)]) == ""


def test_a_config_file_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"data": {"dir": "images"}, "optim": {"lr": 0.5}, "raysearch": {"value": 0.7}}')
    config = load_config(path, Config, ["optim.lr", "1e-3", "model.weights", "w.pth"], cwd=Path("/cwd"))
    assert isinstance(config, Config)
    assert (config.data.dir, config.model.weights, config.optim.lr) == (str(tmp_path / "images"), "/cwd/w.pth", 1e-3)


def test_all_faults_of_a_config_file_and_its_overrides(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"optim": {"lr": -1}, "lss": {}}')
    with pytest.raises(InputError) as caught:
        load_config(path, Config, ["optim.nme", "sgd", "optim.momentum", "2"])
    assert [str(fault).replace(str(path), "config.json") for fault in caught.value.faults] == [
        "optim.nme sgd: the trial config has no optim.nme; did you mean optim.name?",
        "config.json: optim.lr: -1 must be greater than 0; the default is 0.01",
        "optim.momentum 2: 2 must be less than 1; the default is 0.9",
        "config.json: lss: the trial config has no such value; did you mean loss?",
    ]


IN_QUOTES = "write it in quotes: YAML reads yes, no, on, off, true and false as truth values"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            "data: {label_class_ids: [0, 1, 2], class_names: [no, yes, 3]}",
            [
                f"data.class_names.0: false must be text; {IN_QUOTES}",
                f"data.class_names.1: true must be text; {IN_QUOTES}",
                "data.class_names.2: 3 must be text; write it in quotes: YAML reads it as a number",
            ],
        ),
        (
            "data: {label_class_ids: [0, 1], class_names: [null, road]}",
            [
                "data.class_names.0: null must be text; give text; in quotes if it is the word null or a ~, which YAML "
                "reads as nothing"
            ],
        ),
        ("model: {backbone: off}", [f"model.backbone: false must be text; {IN_QUOTES}"]),
        ("data: {class_names: road}", ['data.class_names: "road" must be a list']),
        ("contrast: {memory: maybe}", ['contrast.memory: "maybe" must be true or false; the default is false']),
        ("optim: {name: no}", ["optim.name: false must be 'sgd' or 'adamw'; the default is \"sgd\""]),
    ],
)
def test_words_that_yaml_reads_as_something_else_are_told_to_be_in_quotes(
    text: str, faults: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path, Config)
    assert [str(fault).removeprefix(f"{path}: ") for fault in caught.value.faults] == faults


def test_a_word_of_a_fixed_list_that_yaml_reads_as_a_truth_value_is_told_to_be_in_quotes(tmp_path: Path) -> None:
    class Tracker(BaseModel):
        mode: Literal["on", "off"] = "off"

    path = tmp_path / "config.yaml"
    path.write_text("mode: on")
    with pytest.raises(InputError, match=r"mode: true must be 'on' or 'off'; write it in quotes: YAML reads yes"):
        load_config(path, Tracker)
