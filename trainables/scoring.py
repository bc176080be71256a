"""The network of a checkpoint, and its score on a split of the dataset."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch

from trainables.config import Config
from trainables.data import evaluation_samples, open_split
from trainables.devices import pick_device
from trainables.errors import Fault, InputError
from trainables.evaluation import evaluate
from trainables.metrics import ConfusionMatrix
from trainables.models import Segmenter, network_of
from trainables.models.weights_file import damaged_entry
from trainables.plurals import counted
from trainables.protocol import Progress
from trainables.trainer import MODEL_FILE

Sample = TypeVar("Sample")


def score(config: Config, checkpoint: Path, split: str, progress: Progress) -> ConfusionMatrix:
    """Score the network of a checkpoint on all images of a split; `progress` takes images.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, or the dataset is wrong.
    """
    network, device = load_network(config, checkpoint)
    opened = open_split(config.data, split)
    return evaluate(
        network,
        _counted(evaluation_samples(opened, config.data), len(opened), progress),
        config.data.num_classes,
        config.evaluation,
        padding_multiple=network.padding_multiple,
        crop_size=config.data.augmentation.crop_size,
        device=device,
        precision=config.train.precision,
    )


def _counted(samples: Iterable[Sample], total: int, progress: Progress) -> Iterator[Sample]:
    for done, sample in enumerate(samples, start=1):
        yield sample
        progress(done, total)


def scores_of(confusion: ConfusionMatrix) -> dict[str, Any]:
    """Return `miou`, `pixel_accuracy`, and in `iou` the score of each class."""
    return {
        "miou": float(confusion.miou()),
        "pixel_accuracy": float(confusion.pixel_accuracy()),
        "iou": [float(iou) for iou in confusion.iou()],
    }


def load_network(config: Config, checkpoint: Path) -> tuple[Segmenter, torch.device]:
    """Return the network of a checkpoint on the device of its config, and set the process up as for its training.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, or there is no such device.
    """
    if config.train.num_threads is not None:
        torch.set_num_threads(config.train.num_threads)
    device = pick_device(config.train.device)
    network = network_of(config)
    _load_weights(network, checkpoint / MODEL_FILE)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, device


def _load_weights(network: Segmenter, file: Path) -> None:
    if not file.is_file():
        raise InputError([Fault(str(file.parent), f"holds no {file.name}", "give the folder of a checkpoint")])
    fix = "give the folder of a complete checkpoint"
    try:
        damaged = damaged_entry(file)
        given: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers raise almost any exception on damaged files
        what = f"cannot be read as weights ({type(error).__name__})"
        raise InputError([Fault(str(file), what, fix)]) from error
    if damaged is not None or not isinstance(given, dict):
        what = "holds no weights" if damaged is None else f"is damaged: {damaged} does not match its checksum"
        raise InputError([Fault(str(file), what, fix)])
    wanted = network.state_dict()
    differing = [
        key
        for key in [*wanted, *(key for key in given if key not in wanted)]
        if key not in given or key not in wanted or given[key].shape != wanted[key].shape
    ]
    if differing:
        num_differing = counted(len(differing), "tensor differs", "tensors differ")
        what = f"does not fit the config: {num_differing}, such as {differing[0]}"
        raise InputError([Fault(str(file), what, "give the config that it was trained with")])
    network.load_state_dict(given)
