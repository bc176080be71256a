from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from raysearch.config.config_files import load_config
from raysearch.errors import InputError
from trainables.config import Config

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
