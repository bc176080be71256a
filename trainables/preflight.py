"""Checks of a config that need its dataset and its network."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from trainables.config import Config, LossConfig, ModelConfig
from trainables.data import open_split, training_pixel_counts
from trainables.data.preflight import inspect, notices
from trainables.data.subset import subset_notices, training_notices
from trainables.errors import Fault, InputError
from trainables.losses import cross_entropy_weights
from trainables.models import Segmenter, build_model, smallest_normalised_map
from trainables.models.weights import file_version


def preflight(config: Config) -> list[str]:
    """Read the whole dataset and build the network once.

    Returns:
        Notices, for example about class imbalance, classes that a split lacks, label values that will be ignored, and
        too small a choice of training or validation images.

    Raises:
        InputError: every fault of the dataset, of the class weights, of the backbone and its weights, and a batch too
            small for the network's batch norms.
    """
    lines: list[str] = []
    faults: list[Fault] = []
    try:
        lines = notices(inspect(config.data, config.data.augmentation.crop_size), config.data)
        train = open_split(config.data, "train")
        lines += training_notices(train, config.data)
        lines += subset_notices(open_split(config.data, "val"), config.data, config.evaluation.num_images)
    except InputError as error:
        faults.extend(error.faults)
    else:
        faults += _faults_of_weights(config.loss, training_pixel_counts(train, config.data))
    try:
        check_batch(config)
    except InputError as error:
        faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    model = config.model
    multiple = _network(model, config.data.num_classes).padding_multiple
    height, width = config.data.augmentation.crop_size
    padded = height + -height % multiple, width + -width % multiple
    if padded[0] * padded[1] >= 2 * height * width:
        lines.append(
            f"crops of {height}x{width} are padded to {padded[0]}x{padded[1]}: {model.backbone} needs image "
            f"sides that are multiples of {multiple}; a larger crop takes the same time"
        )
    if model.backbone.startswith("hrnet") and model.weights not in (None, "timm") and model.hrnet_fuse == "nearest":
        lines.append("model.hrnet_fuse is nearest, as timm's weights require; the original's files require bilinear")
    return lines


def check_batch(config: Config) -> None:
    """Build the network and check that its batch norms get more than one value per channel, as a variance needs.

    Raises:
        InputError: the backbone cannot be built, its weights cannot be loaded, or a batch norm would get one value.
    """
    network = _network(config.model, config.data.num_classes)
    stages = (config.beginning(), config) if config.train.shared_iters else (config,)
    faults = [fault for stage in stages for fault in _faults_of_batch(stage, network)]
    if faults:
        raise InputError(list(dict.fromkeys(faults)))


def _faults_of_batch(config: Config, network: Segmenter) -> list[Fault]:
    train, crop_size = config.train, config.data.augmentation.crop_size
    num_parts = -(-train.batch_size // (train.micro_batch_size or train.batch_size))
    if train.freeze_norm or train.batch_size // num_parts > 1 or _smallest_map(network, crop_size) != 1:
        return []
    batch = f"train.batch_size = {train.batch_size}"
    if num_parts > 1:
        batch += f" in {num_parts} parts by train.micro_batch_size = {train.micro_batch_size}"
    what = (
        f"{batch} passes one image at a time through the network, so data.augmentation.crop_size = {list(crop_size)} "
        f"becomes a map of 1x1 in {config.model.backbone}: batch norm needs more than one value per channel"
    )
    height, width = (2 * network.padding_multiple + side for side in crop_size)
    larger = ", a larger crop" if _smallest_map(network, (height, width)) != 1 else ""
    fix = f"use parts of at least 2 images{larger}, or train.freeze_norm: true"
    return [Fault("train.batch_size", what, fix)]


def _faults_of_weights(config: LossConfig, pixel_counts: npt.NDArray[np.int64]) -> list[Fault]:
    if isinstance(config.ce_weights, tuple):  # a search may vary the power from 0 on
        config = config.model_copy(update={"ce_weight_power": config.ce_weight_power or 1.0})
    try:
        cross_entropy_weights(config, pixel_counts)
    except ValueError as error:
        what, _, fix = str(error).partition("; ")
        return [Fault("loss.ce_weights", what, fix)]
    return []


def _network(config: ModelConfig, num_classes: int) -> Segmenter:
    """Return a network on the meta device, built once per model config: a space is checked with each of its choices."""
    return _built(config, num_classes, file_version(config.weights))


@lru_cache
def _built(config: ModelConfig, num_classes: int, version: tuple[int, int] | None) -> Segmenter:
    """Return the network; the version of the file of weights is part of the cache's key."""
    return build_model(config, num_classes, None, seed=0).to("meta")


@lru_cache(maxsize=1024)
def _smallest_map(network: Segmenter, crop_size: tuple[int, int]) -> int | None:
    return smallest_normalised_map(network, crop_size)
