"""Tests of the content of a space file as plain values, and of the overrides of its sections."""

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from raysearch.errors import InputError
from raysearch.space.parsing import load_space
from tests.raysearch.space.space_files import BASE, TRAINABLES, changed, faults_of, spec_of


def text_faults(folder: Path, text: str | bytes) -> list[str]:
    path = folder / "space.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_space(path)
    return [str(fault).replace(f"{path}: ", "") for fault in caught.value.faults]


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
