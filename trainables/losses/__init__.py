"""Losses: a segmentation loss on the logits, and pixel contrast on the embeddings."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainables.config import ContrastConfig, LossConfig
from trainables.losses.ce_lovasz import CrossEntropyLovasz
from trainables.losses.class_weights import class_weights
from trainables.losses.contrast import LIMITS, PixelContrast
from trainables.losses.cross_entropy import CrossEntropy
from trainables.losses.lovasz import LovaszSoftmax
from trainables.losses.ohem import OhemCrossEntropy
from trainables.losses.rmi import RegionMutualInformation
from trainables.losses.segmentation import SegmentationLoss

__all__ = ["LIMITS", "build_contrast_loss", "build_segmentation_loss", "cross_entropy_weights"]


def cross_entropy_weights(
    config: LossConfig, pixel_counts: Sequence[int] | npt.NDArray[np.integer]
) -> npt.NDArray[np.float64] | None:
    """Compute the weight of each class in the cross entropy, (K,), or None if classes are not weighted.

    Args:
        config: Its `ce_weights` and `ce_weight_power` are read.
        pixel_counts: (K,) training pixels of each class.

    Raises:
        ValueError: the weights cannot be computed from these counts, or all of them are 0.
    """
    numbers = class_weights(config.ce_weights, config.ce_weight_power, pixel_counts)
    return None if config.ce_weight_power == 0.0 else numbers


def build_segmentation_loss(
    config: LossConfig, pixel_counts: Sequence[int] | npt.NDArray[np.integer]
) -> SegmentationLoss:
    """Build the segmentation loss, with class weights from the number of training pixels of each class, (K,).

    Raises:
        ValueError: the class weights cannot be computed from these counts.
    """
    numbers = cross_entropy_weights(config, pixel_counts)
    weights = None if numbers is None else torch.from_numpy(numbers)
    main: nn.Module
    match config.segmentation:
        case "ce":
            main = CrossEntropy(weights)
        case "ohem_ce":
            main = OhemCrossEntropy(weights, config.ohem_threshold, config.ohem_min_kept)
        case "lovasz":
            main = LovaszSoftmax()
        case "ce_lovasz":
            main = CrossEntropyLovasz(weights, config.lovasz_coef)
        case "rmi":
            main = RegionMutualInformation(config.rmi_weight)
    return SegmentationLoss(config, main, weights)


def build_contrast_loss(config: ContrastConfig, num_classes: int) -> PixelContrast | None:
    """Build the contrast loss for `num_classes` classes, or return None if its weight is 0."""
    return PixelContrast(config, num_classes) if config.loss_weight > 0.0 else None
