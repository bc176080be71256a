"""Label images that a network predicts, and scores of label images from any source."""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainables.config import IGNORE_INDEX, Config, DataConfig
from trainables.data import image_samples, label_table, raw_values
from trainables.data.decoded import for_all
from trainables.data.folder import at_most, scan_images, scan_predictions, shown
from trainables.data.image_files import Pixels, read_image, read_label
from trainables.data.output_folder import new_folder
from trainables.data.preflight import UnlistedValue, unlisted_values
from trainables.errors import Fault, InputError
from trainables.evaluation import predictions
from trainables.metrics import ConfusionMatrix
from trainables.models import Segmenter
from trainables.overlay import class_colors, overlay
from trainables.plurals import counted
from trainables.protocol import Progress
from trainables.scoring import load_network

Ids = Literal["raw", "contiguous"]
"""Meaning of the pixels of a predicted label: the values of `label_class_ids`, or class indices from 0."""

OVERLAY_FOLDER = "overlay"
VALUES_NAMED = 10
"""Maximum number of wrong values of a file that are named one by one; the others are only counted."""


def readable_images(folder: Path, config: DataConfig) -> list[Path]:
    """Return the images of a folder, after reading each once.

    Raises:
        InputError: the folder holds no image, two of the same name, or images that cannot be read; all at once.
    """
    paths, faults = scan_images(folder)
    unreadable: list[Fault] = []
    for_all(lambda i: read_image(paths[i], config.bit_depth).shape, len(paths), unreadable)
    if faults or unreadable:
        raise InputError(faults + at_most(unreadable))
    return paths


def predict_images(
    network: Segmenter,
    images: list[Path],
    out: Path,
    config: Config,
    *,
    device: torch.device,
    ids: Ids = "raw",
    with_overlay: bool = False,
) -> Iterator[Path]:
    """Write the prediction for each image to `out/NAME.png`, at the image's own size, and yield each path.

    Args:
        network: A network on its device.
        images: Image files with distinct names.
        out: An existing folder.
        config: Determines how the images are scaled and predicted, and the raw values of the classes.
        device: The network's device.
        ids: The meaning of the pixels of the written labels.
        with_overlay: Also write the classes in colour over each image, to `out/overlay/NAME.png`.
    """
    values = raw_values(config.data) if ids == "raw" else np.arange(config.data.num_classes, dtype=np.uint8)
    colors = class_colors(config.data.num_classes)
    if with_overlay:
        (out / OVERLAY_FOLDER).mkdir()
    for batch, predicted in predictions(
        network,
        image_samples(images, config.data),
        config.evaluation,
        padding_multiple=network.padding_multiple,
        crop_size=config.data.augmentation.crop_size,
        device=device,
        precision=config.train.precision,
    ):
        for sample, classes in zip(batch, predicted.cpu().numpy(), strict=True):
            path = out / f"{sample.path.stem}.png"
            Image.fromarray(values[classes]).save(path)
            if with_overlay:
                Image.fromarray(overlay(sample.pixels, classes, colors)).save(out / OVERLAY_FOLDER / path.name)
            yield path


def predict_folder(
    config: Config,
    checkpoint: Path,
    images: Path,
    out: Path,
    *,
    ids: Ids = "raw",
    with_overlay: bool = False,
    progress: Progress,
) -> int:
    """Write the predictions of a checkpoint's network for every image in a folder, as `predict_images` does.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: Folder of the checkpoint.
        images: Folder of images.
        out: An absent or empty folder; it appears only once it is complete.
        ids: The meaning of the pixels of the written labels.
        with_overlay: Also write the classes in colour over each image.
        progress: Function that is called with the number of finished images and the number of all images.

    Returns:
        The number of images.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, an image cannot be read, or `out` is taken.
    """
    with new_folder(out, images) as folder:
        paths = readable_images(images, config.data)
        network, device = load_network(config, checkpoint)
        written = predict_images(network, paths, folder, config, device=device, ids=ids, with_overlay=with_overlay)
        for done, _ in enumerate(written, start=1):
            progress(done, len(paths))
    return len(paths)


class LabelScore(NamedTuple):
    """Score of predicted label images."""

    confusion: ConfusionMatrix
    unlisted: dict[int, UnlistedValue]
    """Values of the true labels that are not in `label_class_ids` and were ignored."""


def score_label_images(predicted: Path, labels: Path, config: DataConfig, ids: Ids = "raw") -> LabelScore:
    """Score a folder of predicted label PNGs against one of true labels with raw values, matched by name.

    Pixels that the true label ignores are not compared, whatever is predicted there.

    Raises:
        InputError: a file has no partner or cannot be read, two sizes differ, a predicted value is no class where the
            label has one, or no label has a pixel of any class; all at once.
    """
    pairs, faults = scan_predictions(predicted, labels)
    confusion, lock = ConfusionMatrix(config.num_classes), Lock()

    def count(i: int) -> NDArray[np.int64]:
        classes, true_classes, histogram = _compared(*pairs[i], config, ids)
        with lock:
            confusion.update(classes, true_classes)
        return histogram

    unfit: list[Fault] = []
    histograms = np.array(for_all(count, len(pairs), unfit))
    if faults or unfit:
        raise InputError(faults + at_most(unfit))
    if not confusion.counts.any():
        values = ", ".join(map(str, np.flatnonzero(histograms.sum(axis=0))))
        what = f"no label contains a pixel of any class; label_class_ids = {list(config.label_class_ids)}"
        raise InputError([Fault(shown(labels), what, f"list values of classes; the labels contain {values}")])
    return LabelScore(confusion, unlisted_values(histograms, [shown(label) for _, label in pairs], config))


def _compared(predicted: Path, label: Path, config: DataConfig, ids: Ids) -> tuple[Pixels, Pixels, NDArray[np.int64]]:
    """Return predicted and true classes (H, W), and (256,) pixels of each raw value of the label.

    Raises:
        InputError: see `score_label_images`.
    """
    read: list[Pixels] = []
    faults: list[Fault] = []
    for path in (predicted, label):
        try:
            read.append(read_label(path))
        except InputError as error:
            faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    raw, truth = read
    if raw.shape != truth.shape:
        (h, w), (label_h, label_w) = raw.shape, truth.shape
        what = f"is {w}x{h} pixels, its label {shown(label)} is {label_w}x{label_h}"
        raise InputError([Fault(shown(predicted), what, "predict at the label's own size")])
    table = label_table(config)
    prediction_table = table if ids == "raw" else _contiguous_table(config.num_classes)
    classes, true_classes = prediction_table[raw], table[truth]
    wrong = np.bincount(raw[(classes == IGNORE_INDEX) & (true_classes != IGNORE_INDEX)], minlength=256)
    if wrong.any():
        values = np.argsort(-wrong, kind="stable")[: np.count_nonzero(wrong)]
        named = ", ".join(f"{value} ({counted(wrong[value], 'pixel')})" for value in values[:VALUES_NAMED])
        more = f" and {len(values) - VALUES_NAMED} more" if len(values) > VALUES_NAMED else ""
        rule = f"label_class_ids {raw_values(config).tolist()}" if ids == "raw" else f"0..{config.num_classes - 1}"
        what = f"contains {named}{more} at labelled pixels, which are not classes of {rule}"
        other = "contiguous" if ids == "raw" else "raw"
        raise InputError([Fault(shown(predicted), what, f"predict a class at every pixel, or give --ids {other}")])
    return classes, true_classes, np.bincount(truth.ravel(), minlength=256)


def _contiguous_table(num_classes: int) -> Pixels:
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[:num_classes] = np.arange(num_classes)
    return table
