"""Tests of a checked search: the configs of its trials, its digest, and its document."""

from pathlib import Path

import pytest
import yaml

from raysearch.errors import InputError
from raysearch.space.parsing import load_space
from tests.raysearch.space.space_files import BASE, changed, searching, spec_of
from trainables.config import Config
from trainables.dotted_paths import with_values


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


def test_text_that_looks_like_a_number_stays_text_when_written(folder: Path) -> None:
    document = searching(
        "shape", {"type": "categorical", "choices": ["1e-4", "yes", "2024-01-01", "null", "é"]}, trainable="t.py:Small"
    )
    document |= {"config": {}, "scheduler": {"name": "none"}, "name": "1e5"}
    spec = spec_of(folder, document)
    (folder / "again.yaml").write_text(spec.to_yaml())
    assert load_space(folder / "again.yaml") == spec
