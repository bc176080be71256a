"""A training of six iterations on drawn images, which takes a tenth of a second, and its comparison."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainables.config import Config
from trainables.dotted_paths import with_values
from trainables.trainer import Trainer

_TINY: dict[str, Any] = {
    "data.drawn.num_train": 8,
    "data.drawn.num_val": 4,
    "data.drawn.size": [32, 48],
    "data.augmentation.crop_size": [32, 32],
    "model.backbone": "test_efficientnet",
    "model.head_channels": 8,
    "contrast.proj_dim": 8,
    "train.max_iters": 6,
    "train.report_iters": 2,
    "train.batch_size": 2,
    "train.device": "cpu",
}


def tiny(values: Mapping[str, Any] | None = None) -> Config:
    """Return the tiny config with values set by dotted path."""
    return Config.model_validate(with_values({}, {**_TINY, **(values or {})}))


def comparable(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report without times; the IoU of absent classes is None, because NaN is not equal to itself."""
    kept = {key: value for key, value in report.items() if key not in ("images_per_second", "seconds_per_image")}
    return {**kept, "iou": [None if math.isnan(iou) else iou for iou in report["iou"]]}


def remaining_reports(trainer: Trainer) -> list[dict[str, Any]]:
    """Train to the end of the budget and return the reports."""
    reports = []
    while not trainer.done:
        reports.append(comparable(trainer.run_to_report()))
    return reports


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    """Return every tensor from which a training continues."""
    state = {f"network.{key}": tensor for key, tensor in trainer.network.state_dict().items()}
    for number, of_parameter in trainer.optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{number}.{key}": value for key, value in of_parameter.items() if value is not None}
    if trainer.contrast_loss is not None:
        state |= {f"contrast.{key}": tensor for key, tensor in trainer.contrast_loss.state_dict().items()}
    return {key: tensor.clone() for key, tensor in state.items()}


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that are not bit-equal or that only one side has."""
    return [key for key in {**one, **other} if key not in one or key not in other or not one[key].equal(other[key])]
