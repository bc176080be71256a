"""Inspection of a dataset before training: sizes, pixels per class, values that belong to no class."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.config import IGNORE_INDEX, DataConfig
from trainables.data.decoded import DecodedSplit, open_split
from trainables.data.folder import NAMED_AT_MOST, shown
from trainables.data.image_files import ImageTraits
from trainables.data.labels import class_histograms
from trainables.data.soft_edges import SoftEdges, soft_edges, soft_edges_notice
from trainables.errors import Fault, InputError
from trainables.plurals import counted

IMBALANCE_WORTH_SAYING = 5.0
"""Ratio of the most to the least frequent class above which a notice says that class weights may help."""
IMBALANCE_WORTH_WEIGHTS = 10.0
"""Ratio above which class weights are recommended."""
USUAL_BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Common bit depths of sensors and scanners. One of them is assumed for images in 16-bit files."""
VALUES_NAMED = 10
"""Maximum number of unlisted values that are named one by one; the others are only counted."""


@dataclass(frozen=True)
class UnlistedValue:
    """A raw label value other than 255 that `label_class_ids` does not list."""

    num_pixels: int
    first_file: str


class SharedImage(NamedTuple):
    """One image in two splits, found by its decoded pixels."""

    first: Path
    second: Path


@dataclass(frozen=True)
class SplitSummary:
    """Contents of one split."""

    num_images: int
    sizes: dict[tuple[int, int], int]
    """Number of images of each height and width, before `image_scale`."""
    class_pixels: tuple[int, ...]
    """Pixels of each class, at the labels' own size."""
    class_images: tuple[int, ...]
    """Number of images that have a pixel of each class."""
    ignored_pixels: int
    """Pixels of no class: 255, unlisted values, and position 0 with `reduce_zero_label`."""
    unlisted: dict[int, UnlistedValue]
    """Raw value -> where it occurs, in descending order of pixels."""
    smaller_than_crop: int
    """Number of images that are smaller than the crop, in height or width, even at the largest augmentation scale."""
    images: tuple[tuple[str, Path], ...] = field(default=(), repr=False)
    """Hash of the pixels and path of each image."""
    traits: tuple[ImageTraits, ...] = field(default=(), repr=False)
    """Properties of each image file that its pixels no longer show."""
    soft_edges: SoftEdges | None = None
    """Values of the labels if they look blended along edges, otherwise None."""

    @property
    def imbalance(self) -> float:
        """Ratio of the pixels of the most frequent class to those of the least frequent class that occurs."""
        present = [count for count in self.class_pixels if count]
        return max(present) / min(present)


def inspect(
    config: DataConfig,
    crop_size: tuple[int, int],
    splits: Sequence[str] = ("train", "val"),
    folder: Path | None = None,
) -> dict[str, SplitSummary]:
    """Return a summary of each split; this reads each file once and leaves the decoded pixels for the trials.

    Args:
        config: Where the data are and what their values mean.
        crop_size: Height and width of the training crop.
        splits: Names of the splits.
        folder: A dataset folder that replaces `config.dir`.

    Raises:
        InputError: every fault of every split, and every split without a pixel of any class.
    """
    summaries: dict[str, SplitSummary] = {}
    faults: list[Fault] = []
    for name in splits:
        try:
            split = open_split(config, name, folder)
        except InputError as error:
            faults.extend(error.faults)
            continue
        summaries[name] = _summary(split, config, crop_size)
        if not any(summaries[name].class_pixels):
            values = ", ".join(map(str, np.flatnonzero(split.histograms.sum(axis=0))))
            what = f"no label contains a pixel of any class; label_class_ids = {list(config.label_class_ids)}"
            fix = f"list values of classes; the labels contain {values}"
            faults.append(Fault(f"data, split {name}", what, fix))
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    return summaries


def notices(summaries: dict[str, SplitSummary], config: DataConfig) -> list[str]:
    """Return facts worth knowing that are not faults, one line each."""
    names = config.class_names or [f"class {k}" for k in range(config.num_classes)]
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    lines = [*image_notices(summaries, config.bit_depth), *_soft_edges_notices(summaries)]
    for split, summary in summaries.items():
        unlisted = summary.unlisted
        if summary.soft_edges is not None:  # the rest is reported in one line
            areas = summary.soft_edges.likely_classes
            unlisted = {value: found for value, found in unlisted.items() if value in areas}
        lines += [f"{split}: {line}" for line in unlisted_notices(unlisted)]
        for name, raw, count in zip(names, ids, summary.class_pixels, strict=True):
            if count == 0:
                effect = (
                    "it does not count in the mean IoU unless it is predicted"
                    if split != "train"
                    else "it cannot be learned"
                )
                lines.append(f"{split}: {name} (raw value {raw}) has no pixels; {effect}")
        if split == "train" and summary.smaller_than_crop:
            verb = "is" if summary.smaller_than_crop == 1 else "are"
            lines.append(
                f"train: {summary.smaller_than_crop} of {counted(summary.num_images, 'image')} {verb} smaller than the "
                "crop at every scale; their crops are always padded"
            )
    if "train" in summaries and summaries["train"].imbalance >= IMBALANCE_WORTH_SAYING:
        train = summaries["train"]
        most, least = max(train.class_pixels), min(count for count in train.class_pixels if count)
        line = (
            f"train: {names[train.class_pixels.index(most)]} has {train.imbalance:.1f} times the pixels of "
            f"{names[train.class_pixels.index(least)]} ({most} : {least})"
        )
        are_recommended = train.imbalance >= IMBALANCE_WORTH_WEIGHTS
        line += f"; class weights {'are recommended' if are_recommended else 'may help'}"
        lines.append(f"{line}: search loss.ce_weight_power between 0 and 1")
    shared = shared_images({split: summary.images for split, summary in summaries.items()})
    for first, second in shared[:NAMED_AT_MOST]:
        lines.append(f"the same image is in two splits: {shown(first)} and {shown(second)}")
    if len(shared) > NAMED_AT_MOST:
        lines.append(f"{counted(len(shared), 'image is', 'images are')} in two splits in all")
    return lines


def likely_bit_depth(traits: Iterable[ImageTraits]) -> int:
    """Return the most likely `data.bit_depth` of images with 16 bits per channel.

    It is the smallest common depth that holds all values, and 16 if there are no such images.
    """
    bits = max((image.bits for image in traits), default=0)
    return next(depth for depth in USUAL_BIT_DEPTHS if depth >= bits) if bits else 16


def image_notices(summaries: Mapping[str, SplitSummary], bit_depth: int) -> list[str]:
    """Return facts worth knowing about how images are read, one line each.

    Args:
        summaries: The contents of each split.
        bit_depth: `data.bit_depth`.
    """
    lines = []
    likely = likely_bit_depth(image for summary in summaries.values() for image in summary.traits)
    if likely < bit_depth:
        num_deep = sum(image.bits > 0 for summary in summaries.values() for image in summary.traits)
        lines.append(
            f"{counted(num_deep, 'image has', 'images have')} 16 bits per channel but no value above {2**likely - 1}, "
            f"so this is probably {likely}-bit data: data.bit_depth: {likely} reads it at full brightness, {bit_depth} "
            f"reads it {2 ** (bit_depth - likely)} times too dark"
        )
    for split, summary in summaries.items():
        of_all = f"{split}: of {counted(summary.num_images, 'image')}"
        if num_turned := sum(image.turned for image in summary.traits):
            lines.append(
                f"{of_all}, {num_turned} turned upright according to the EXIF orientation; "
                "their labels must show them upright too"
            )
        if num_transparent := sum(image.transparent for image in summary.traits):
            lines.append(
                f"{of_all}, {num_transparent} with transparent pixels; transparency is "
                "ignored, and the colours beneath it are used"
            )
    return lines


def _soft_edges_notices(summaries: Mapping[str, SplitSummary]) -> list[str]:
    """Return one line for all splits, about the first whose labels look blended."""
    for summary in summaries.values():
        if summary.soft_edges is not None:
            total = sum(summary.class_pixels) + summary.ignored_pixels
            return [soft_edges_notice(summary.soft_edges, total, summary.images[0][1].parents[2])]
    return []


def shared_images(splits: Mapping[str, Sequence[tuple[str, Path]]]) -> list[SharedImage]:
    """Return each image that is in two splits, regardless of how the two files are encoded.

    Args:
        splits: Hash of the pixels and path of each image, by split.
    """
    shared: list[SharedImage] = []
    for first, second in itertools.combinations(splits.values(), 2):
        paths = dict(first)
        shared += [SharedImage(paths[digest], path) for digest, path in second if digest in paths]
    return shared


def unlisted_values(
    histograms: NDArray[np.int64], label_paths: Sequence[str], config: DataConfig
) -> dict[int, UnlistedValue]:
    """Return raw values other than 255 that are not in `label_class_ids`, in descending order of pixels.

    Args:
        histograms: (N, 256) pixels of each raw value in each label.
        label_paths: Paths of the N labels.
        config: Its `label_class_ids` are read.
    """
    totals = histograms.sum(axis=0)
    return {
        int(value): UnlistedValue(int(totals[value]), label_paths[int(np.flatnonzero(histograms[:, value])[0])])
        for value in np.argsort(-totals, kind="stable")
        if totals[value] and value != IGNORE_INDEX and value not in config.label_class_ids
    }


def unlisted_notices(unlisted: dict[int, UnlistedValue]) -> list[str]:
    """Return one line for each of the most frequent unlisted values, and one that counts the others."""
    lines = [
        f"label value {value} is not in label_class_ids and is ignored: {counted(found.num_pixels, 'pixel')}, "
        f"first in {found.first_file}"
        for value, found in list(unlisted.items())[:VALUES_NAMED]
    ]
    if len(unlisted) > VALUES_NAMED:
        more = counted(len(unlisted) - VALUES_NAMED, "more label value is", "more label values are")
        lines.append(f"{more} also ignored")
    return lines


def _summary(split: DecodedSplit, config: DataConfig, crop_size: tuple[int, int]) -> SplitSummary:
    histograms = class_histograms(split.histograms, config)
    class_pixels = histograms.sum(axis=0)
    sizes = dict(Counter(split.sizes))
    largest = config.image_scale * config.augmentation.scale[1]
    return SplitSummary(
        num_images=len(split),
        sizes=sizes,
        class_pixels=tuple(class_pixels.tolist()),
        class_images=tuple((histograms > 0).sum(axis=0).tolist()),
        ignored_pixels=int(split.histograms.sum() - class_pixels.sum()),
        unlisted=unlisted_values(split.histograms, split.label_paths, config),
        smaller_than_crop=sum(
            count
            for (h, w), count in sizes.items()
            if config.augmentation.fit == "crop" and (h * largest < crop_size[0] or w * largest < crop_size[1])
        ),
        images=tuple(zip(split.digests, split.image_paths, strict=True)),
        traits=tuple(split.traits),
        soft_edges=soft_edges(split.histograms.sum(axis=0), split.inner),
    )
