"""Tests of the base config of a space file: its values, its files, and the paths in it."""

from pathlib import Path

import pytest

from tests.raysearch.space.space_files import changed, faults_of, searching, spec_of
from trainables.config import Config


def test_the_base_config_is_complete_and_holds_the_threads(folder: Path) -> None:
    config = spec_of(folder, changed(resources={"cpu": 3})).config
    expected = Config.model_validate({"train": {"max_iters": 4500, "report_iters": 100, "num_threads": 3}})
    assert config == expected.model_dump(mode="json")
    assert spec_of(folder, changed(resources={"cpu": 0.5})).config["train"]["num_threads"] == 1
    given = changed(resources={"cpu": 3}, config__train={"num_threads": 2, "max_iters": 600})
    assert spec_of(folder, given).config["train"]["num_threads"] == 2


def test_a_model_that_ignores_unknown_keys_is_checked_all_the_same(folder: Path) -> None:
    document = searching("lr", {"type": "float", "low": 0.1, "high": 0.2}, trainable="t.py:Small", config={"rl": 1})
    document["scheduler"] = {"name": "none"}
    assert faults_of(folder, document) == [
        "space.yaml: config.rl: the trial config has no such value; valid are lr, folder, extra, shape"
    ]


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
