"""Losses: cross entropy and pixel contrast."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from trainables.config import ContrastConfig, LossConfig
from trainables.losses.class_weights import class_weights
from trainables.losses.contrast import PixelContrast
from trainables.losses.cross_entropy import CrossEntropy


def build_segmentation_loss(config: LossConfig, pixel_counts: Sequence[int] | npt.NDArray[np.integer]) -> CrossEntropy:
    """The segmentation term, with class weights from the training pixels of every class, (K,).

    Raises:
        ValueError: the class weights cannot be had from these counts.
    """
    weights = class_weights(config.ce_weights, config.ce_weight_power, pixel_counts)
    return CrossEntropy(config, None if config.ce_weight_power == 0.0 else torch.from_numpy(weights))


def build_contrast_loss(config: ContrastConfig, num_classes: int) -> PixelContrast | None:
    """The contrast term for `num_classes` classes; None where its weight is 0."""
    return PixelContrast(config, num_classes) if config.loss_weight > 0.0 else None
