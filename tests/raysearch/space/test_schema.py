import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from raysearch.commands import space_commands
from raysearch.config.config_tree import ConfigTree
from raysearch.config.shipped import shipped_spaces
from raysearch.config.strict_yaml import read_mapping
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, load_trainable
from raysearch.space.schema import space_schema
from trainables.config import Config

RIGHT: dict[str, Any] = {
    "name": "potatoes",
    "config": {"data": {"dir": "potatoes", "label_class_ids": [0, 50]}, "train": {"max_iters": 50}},
    "space": {
        "optim.lr": {"type": "float", "low": 1e-3, "high": 0.1, "log": True},
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.memory_size": {"type": "int", "low": 500, "high": 5000, "when": {"contrast.memory": True}},
    },
    "objective": {"metric": "miou", "mode": "max"},
    "search": {"algorithm": "tpe", "trials": 8},
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = space_schema(load_trainable(DEFAULT_TRAINABLE, Path.cwd()))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_shipped_space_file_is_right(name: str, validator: Draft202012Validator) -> None:
    document, _ = read_mapping(shipped_spaces()[name], name)
    assert list(validator.iter_errors(document)) == []


def changed(place: str, value: Any) -> dict[str, Any]:
    """Return the valid document with a value set at a place, whose keys are separated by slashes."""
    document = copy.deepcopy(RIGHT)
    *sections, key = place.split("/")
    inner = document
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[key] = value
    return document


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("objective", [{"metric": "miou", "mode": "max"}, {"metric": "peak_memory_bytes", "mode": "min"}]),
        ("config", "best.json"),
        ("config", {"openseg": "H_48_D_4.json", "flags": "--loss_type ce_loss", "train": {"max_iters": 5}}),
        ("config/data/label_list", [0, 1]),
        ("search/confirm", True),
        ("search/confirm", {"top": 2}),
        ("search/warm_start", "notes.csv"),
        ("search/warm_start", ["notes.csv", "runs/a"]),
        ("scheduler", None),
        ("scheduler/grace_iters", "auto"),
        ("scheduler/slack", 0.5),
        ("constraints", ["contrast.max_views <= contrast.max_samples"]),
        ("resources/concurrent", "auto"),
    ],
)
def test_what_a_space_file_may_hold_is_right(place: str, value: Any, validator: Draft202012Validator) -> None:
    assert list(validator.iter_errors(changed(place, value))) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("serach", {}),
        ("search/algorithm", "tpee"),
        ("search/trials", 0),
        ("search/trails", 8),
        ("scheduler/name", "ahsa"),
        ("resources/gpu", -1),
        ("objective", {"metric": "moiu", "mode": "max"}),
        ("objective", [{"metric": "miou", "mode": "max"}, {"metric": "loss", "mode": "mni"}]),
        ("objective/mode", "maximum"),
        ("config/optim", {"rl": 0.1}),
        ("config/model", {"head": "ocrr"}),
        ("config/flags", "--loss_type ce_loss"),
        ("space", {}),
        ("space/optim.rl", {"type": "float", "low": 0, "high": 1}),
        ("space/optim", {"type": "float", "low": 0, "high": 1}),
        ("space/optim.lr", {"type": "flaot", "low": 0, "high": 1}),
        ("space/optim.lr", {"type": "float", "low": "small", "high": 1}),
        ("space/optim.lr", {"type": "float", "low": 0}),
        ("space/optim.lr", {"type": "int", "low": 0, "high": 1, "choices": [1]}),
        ("space/optim.lr", [0.1, 1.0]),
        ("constraints", [1]),
    ],
)
def test_what_it_may_not_hold_is_wrong(place: str, value: Any, validator: Draft202012Validator) -> None:
    assert not validator.is_valid(changed(place, value))


@pytest.mark.parametrize("key", ["space", "objective"])
def test_what_it_must_hold_is_asked_for(key: str, validator: Draft202012Validator) -> None:
    assert not validator.is_valid({name: value for name, value in RIGHT.items() if name != key})


def test_every_path_is_listed_with_what_its_field_says(validator: Draft202012Validator) -> None:
    listed = validator.schema["then"]["properties"]["space"]["properties"]
    assert set(listed) == set(ConfigTree(Config).paths)
    assert listed["contrast.max_views"]["description"] == "Largest number of anchors in a group."


def test_another_trainable_may_be_known_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from pydantic import BaseModel\n\n"
        "class Mine:\n"
        "    METRICS = {'loss'}\n\n"
        "    class Config(BaseModel):\n"
        "        rate: float = 0.1\n"
    )
    reference = f"{tmp_path / 'mine.py'}:Mine"
    out = tmp_path / "mine.schema.json"
    space_commands.schema(out, reference)
    assert "# yaml-language-server: $schema=mine.schema.json" in capsys.readouterr().out
    validator = Draft202012Validator(json.loads(out.read_text()))
    rate = {"type": "float", "low": 0.0, "high": 1.0}
    mine = {"trainable": reference, "space": {"rate": rate}, "objective": {"metric": "loss", "mode": "min"}}
    assert validator.is_valid(mine)
    assert not validator.is_valid({**mine, "space": {"rato": rate}})
    assert not validator.is_valid({**mine, "objective": {"metric": "miou", "mode": "min"}})
    assert validator.is_valid({**mine, "trainable": "other.py:Other", "space": {"anything": rate}})
