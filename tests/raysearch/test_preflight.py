"""What is looked at before any trial starts: the config, and every choice of the space."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raysearch.errors import InputError
from raysearch.preflight import preflight
from raysearch.space import SearchSpec, parse_space

CONFIG = {
    "data": {"drawn": {"num_train": 4, "num_val": 2, "size": [32, 32]}, "augmentation": {"crop_size": [32, 32]}},
    "train": {"max_iters": 4, "report_iters": 2, "batch_size": 2},
}


def spec_of(space: Mapping[str, Any], folder: Path) -> SearchSpec:
    document = {"name": "x", "config": CONFIG, "space": space, "objective": {"metric": "miou", "mode": "max"}}
    return parse_space({**document, "search": {"trials": 2}, "scheduler": {"name": "none"}}, folder)


def test_a_space_of_right_choices_gives_the_notices_of_its_config_once(tmp_path: Path) -> None:
    choices = ["test_efficientnet", "test_resnet", "test_convnext"]
    notices = preflight(spec_of({"model.backbone": {"type": "categorical", "choices": choices}}, tmp_path))
    assert notices
    assert len(notices) == len(set(notices))


def test_every_wrong_choice_is_named(tmp_path: Path) -> None:
    space = {
        "model.backbone": {"type": "categorical", "choices": ["test_efficientnet", "test_efficientnt", "tset_vit"]},
        "model.weights": {"type": "categorical", "choices": ["missing.pth", "absent.pth"], "when": {"train.seed": 1}},
        "train.seed": {"type": "categorical", "choices": [0, 1]},
        "optim.lr": {"type": "float", "low": 0.1, "high": 0.2},
    }
    with pytest.raises(InputError) as caught:
        preflight(spec_of(space, tmp_path))
    lines = [str(fault) for fault in caught.value.faults]
    assert len(lines) == 4
    assert lines[0].startswith('space: model.backbone: the choice "test_efficientnt": test_efficientnt is not a timm')
    assert "test_efficientnet" in lines[0].split("did you mean")[1]
    for name in ("missing.pth", "absent.pth"):
        path = tmp_path / name
        assert any(
            line.startswith("space: model.weights: the choice") and f"{path} is not a file" in line for line in lines
        )
