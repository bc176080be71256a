"""What can be wrong with a config that only its dataset and its network tell."""

from trainables.config import Config
from trainables.data.preflight import inspect, notices
from trainables.errors import Fault, InputError
from trainables.models import build_model


def preflight(config: Config) -> list[str]:
    """Read the whole dataset and build the network once.

    Returns:
        Notices: imbalance, classes that a split lacks, label values that become ignore.

    Raises:
        InputError: every fault of the dataset, and of the backbone and its weights.
    """
    lines: list[str] = []
    faults: list[Fault] = []
    try:
        lines = notices(inspect(config.data, config.data.augmentation.crop_size), config.data)
    except InputError as error:
        faults.extend(error.faults)
    try:
        build_model(config.model, config.data.num_classes, None, config.train.seed)
    except InputError as error:
        faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    return lines
