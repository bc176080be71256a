"""Tests of the checks before the first trial: the config, and every choice of the space."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raysearch.errors import InputError
from raysearch.execution.preflight import preflight
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

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


BATCH = {"type": "int", "low": 2, "high": 6}
PARTS = {"type": "categorical", "choices": [2, 3]}


def batch_faults(tmp_path: Path, space: Mapping[str, Any], **sections: Any) -> list[str]:
    document = {"name": "x", "config": CONFIG, "space": space, "objective": {"metric": "miou", "mode": "max"}}
    document |= {"search": {"trials": 2}, "scheduler": {"name": "none"}, **sections}
    try:
        preflight(parse_space(document, tmp_path))
    except InputError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_a_combination_that_lets_one_image_through_at_once_is_found(tmp_path: Path) -> None:
    """At stride 32 a crop of 32 pixels gives one value per channel; 3 images in parts of 2 leave a part of one."""
    space = {"train.batch_size": BATCH, "train.micro_batch_size": PARTS}
    (line,) = batch_faults(tmp_path, space)
    assert line.startswith("space: train.batch_size = 3, train.micro_batch_size = 2: train.batch_size = 3 in 2 parts")
    assert "(2 of 10 combinations tried); use parts of at least 2 images, a larger crop, or" in line, "3 and 5 by 2"
    assert "train.freeze_norm: true; or exclude such combinations by constraints" in line


@pytest.mark.parametrize(
    ("space", "sections", "is_fault"),
    [
        ({"train.batch_size": {"type": "int", "low": 1, "high": 4}}, {}, True),
        ({"train.batch_size": {"type": "int", "low": 2, "high": 4}}, {}, False),
        ({"train.batch_size": {"type": "int", "low": 1, "high": 4}}, {"constraints": ["train.batch_size >= 2"]}, False),
        (
            {
                "train.freeze_norm": {"type": "categorical", "choices": [True, False]},
                "train.batch_size": {"type": "int", "low": 1, "high": 4, "when": {"train.freeze_norm": True}},
            },
            {},
            False,
        ),
        ({"train.micro_batch_size": {"type": "categorical", "choices": [None, 1]}}, {}, True),
        (
            {
                "train.batch_size": {"type": "int", "low": 1, "high": 4},
                "data.augmentation.crop_size": {"type": "categorical", "choices": [[64, 64], [96, 64]]},
            },
            {},
            False,
        ),
        (
            {
                "train.batch_size": {"type": "int", "low": 1, "high": 4},
                "data.augmentation.crop_size": {"type": "categorical", "choices": [[64, 64], [16, 16]]},
            },
            {},
            True,
        ),
    ],
)
def test_only_what_the_space_can_draw_is_refused(
    space: Mapping[str, Any], sections: dict[str, Any], is_fault: bool, tmp_path: Path
) -> None:
    assert bool(batch_faults(tmp_path, space, **sections)) is is_fault
