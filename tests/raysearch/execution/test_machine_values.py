from pathlib import Path

import pytest

from raysearch.execution.machine_values import on_this_machine
from raysearch.space.parsing import load_space, parse_space
from trainables import precision

SPACE = {
    "name": "digits",
    "config": {"train": {"precision": "auto"}},
    "space": {"optim.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True}},
    "objective": {"metric": "miou", "mode": "max"},
}


def test_the_precision_is_chosen_once_and_written_into_the_space_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "fastest_precision", lambda config, device: "bf16")
    spec, notices = on_this_machine(parse_space(SPACE, tmp_path))
    assert notices == ["train.precision: auto is bf16 on this machine"]
    assert spec.trial_config({})["train"]["precision"] == "bf16"
    (tmp_path / "space.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    again = load_space(tmp_path / "space.yaml")
    assert again == spec
    assert on_this_machine(again) == (again, [])
