"""What can be wrong with a config that only its dataset and its network tell."""

from functools import lru_cache

from trainables.config import Config, ModelConfig
from trainables.data import open_split
from trainables.data.preflight import inspect, notices
from trainables.data.subset import subset_notices, training_notices
from trainables.errors import Fault, InputError
from trainables.models import build_model


def preflight(config: Config) -> list[str]:
    """Read the whole dataset and build the network once.

    Returns:
        Notices: imbalance, classes that a split lacks, label values that become ignore, a choice of training
        or validation images that is too small.

    Raises:
        InputError: every fault of the dataset, and of the backbone and its weights.
    """
    lines: list[str] = []
    faults: list[Fault] = []
    try:
        lines = notices(inspect(config.data, config.data.augmentation.crop_size), config.data)
        lines += training_notices(open_split(config.data, "train"), config.data)
        lines += subset_notices(open_split(config.data, "val"), config.data, config.evaluation.num_images)
    except InputError as error:
        faults.extend(error.faults)
    try:
        _check_network(config.model, config.data.num_classes)
    except InputError as error:
        faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    model = config.model
    if model.backbone.startswith("hrnet") and model.weights not in (None, "timm") and model.hrnet_fuse == "nearest":
        lines.append(
            "model.hrnet_fuse is nearest, as timm's weights want it; the original's files were made for bilinear"
        )
    return lines


@lru_cache
def _check_network(config: ModelConfig, num_classes: int) -> None:
    """Build a network that was not built before: a space is looked at with every one of its choices."""
    build_model(config, num_classes, None, seed=0)
