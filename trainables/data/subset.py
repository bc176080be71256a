"""Representative subsets of a split, for training or scoring on fewer images."""

import math

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.decoded import DecodedSplit, class_pixel_counts
from trainables.data.labels import class_histograms
from trainables.data.splitting import stratified
from trainables.plurals import counted


def stratified_images(split: DecodedSplit, config: DataConfig, num_images: int | None) -> list[int]:
    """Return the indices of `num_images` images of a split, ascending; all if no number is given or there are no more.

    The subset keeps, as far as its size allows, the share of images that have each class, and of images that have much
    of it. It depends only on the labels: all trials of a search are scored on the same images.
    """
    if num_images is None or num_images >= len(split):
        return list(range(len(split)))
    return stratified_choice(class_histograms(split.histograms, config), num_images)


def nested_images(split: DecodedSplit, config: DataConfig, num_images: int | None) -> list[int]:
    """Return a subset as `stratified_images` does, but so that a smaller subset lies within every larger one.

    Two trainings on subsets of different sizes then differ only by the additional images of the larger one.
    """
    if num_images is None or num_images >= len(split):
        return list(range(len(split)))
    return nested_choice(class_histograms(split.histograms, config), num_images)


def training_pixel_counts(split: DecodedSplit, config: DataConfig) -> NDArray[np.int64]:
    """Count the pixels of each class, (K,), in the images of the training split that a config trains on."""
    return class_pixel_counts(split, config, nested_images(split, config, config.num_images))


def nested_choice(pixels: NDArray[np.int64], num_images: int) -> list[int]:
    """Return `num_images` of N images, ascending, chosen by their pixels (N, K) of each class.

    The images are halved repeatedly, each time stratified. A subset consists of whole halves, the first ones.
    """
    chosen: list[int] = []
    remaining = np.arange(len(pixels))
    while len(chosen) < num_images < len(chosen) + len(remaining):
        half = stratified_choice(pixels[remaining], (len(remaining) + 1) // 2)
        if len(chosen) + len(half) > num_images:
            remaining = remaining[half]
        else:
            chosen += remaining[half].tolist()
            remaining = np.delete(remaining, half)
    return sorted(chosen if len(chosen) == num_images else [*chosen, *remaining.tolist()])


def stratified_choice(pixels: NDArray[np.int64], num_images: int) -> list[int]:
    """Return `num_images` of N images, ascending, chosen by their pixels (N, K) of each class."""
    wanted = _properties(pixels)
    names = [f"{i:09d}" for i in range(len(pixels))]
    share = num_images / len(pixels)
    chosen = stratified(wanted, names, {"chosen": share, "others": 1 - share}, seed=0)
    return _exactly(num_images, chosen["chosen"].tolist(), chosen["others"].tolist(), wanted)


def subset_notices(split: DecodedSplit, config: DataConfig, num_images: int | None) -> list[str]:
    """Return notices of what scoring only `num_images` images of a split loses, one line each."""
    if num_images is None or num_images == len(split):
        return []
    where = f"evaluation.num_images = {num_images}"
    if num_images > len(split):
        return [f"{where}: val has only {counted(len(split), 'image')}; all of them are scored"]
    pixels = class_histograms(split.histograms, config)
    chosen = pixels[stratified_choice(pixels, num_images)]
    lines = _lost_classes(f"{where}: {{}} is in none of the images that are used for scores", pixels, chosen, config)
    noise = difference_noise(chosen)
    if noise > DECISIVE_DIFFERENCE:
        enough = min(len(split), math.ceil(num_images * (noise / DECISIVE_DIFFERENCE) ** 2))
        lines.append(
            f"{where}: the selection of images alone changes the difference of two scores by about {noise:.3f} mIoU, "
            f"more than the {DECISIVE_DIFFERENCE} on which rungs decide; {counted(enough, 'image')} would be enough"
        )
    return lines


def training_notices(split: DecodedSplit, config: DataConfig) -> list[str]:
    """Return notices of what training only on `config.num_images` images of a split loses, one line each."""
    num_images = config.num_images
    if num_images is None or num_images == len(split):
        return []
    where = f"data.num_images = {num_images}"
    if num_images > len(split):
        return [f"{where}: train has only {counted(len(split), 'image')}; training uses all of them"]
    pixels = class_histograms(split.histograms, config)
    chosen = pixels[nested_choice(pixels, num_images)]
    return _lost_classes(f"{where}: {{}} is in none of the images that are used for training", pixels, chosen, config)


def _lost_classes(what: str, pixels: NDArray[np.int64], chosen: NDArray[np.int64], config: DataConfig) -> list[str]:
    """Return a line for each class that images with `pixels` (N, K) have but the chosen ones lack."""
    names = config.class_names or [f"class {k}" for k in range(config.num_classes)]
    return [
        f"{what.format(name)}, but in {count} of all {len(pixels)}"
        for name, count, kept in zip(names, (pixels > 0).sum(axis=0), (chosen > 0).sum(axis=0), strict=True)
        if count > 0 and kept == 0
    ]


DECISIVE_DIFFERENCE = 0.01
"""Difference of mIoU that a rung should be able to distinguish from chance. On CamVid, half the trials were 0.012 to
0.023 or more from the cut of a rung (`benchmarks/rung_audit.py`).
"""

_IMAGE_DEVIATION = 0.06
"""Standard deviation, over images, of the difference of two networks' IoU of a class. On CamVid it was 0.04 early in a
training and 0.07 at its end, whatever the number of images (`benchmarks/rung_audit.py`).
"""


def difference_noise(pixels: NDArray[np.int64]) -> float:
    """Return the expected standard error of the difference of two networks' mIoU, for pixels (N, K) per class.

    No network is needed for this. The IoU of a class is a mean over images, weighted by their pixels of the class, so
    it has the noise of n_k = (sum p)^2 / sum p^2 images of equal weight. The mIoU has the noise of a mean over classes.
    """
    present = pixels[:, pixels.any(axis=0)].astype(np.float64)
    num_effective = present.sum(axis=0) ** 2 / (present**2).sum(axis=0)
    return float(_IMAGE_DEVIATION * math.sqrt((1 / num_effective).sum()) / max(1, present.shape[1]))


def _properties(pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (N, 2K) for (N, K) pixels: whether an image has a class, and whether it has at least the median of it.

    The median is over the images that have the class.
    """
    present = pixels > 0
    medians = [np.median(column[column > 0]) if column.any() else np.inf for column in pixels.T]
    return np.column_stack([present, pixels >= np.array(medians)])


def _exactly(num_images: int, chosen: list[int], others: list[int], wanted: NDArray[np.bool_]) -> list[int]:
    """Return exactly `num_images` images: a stratified choice may be a few too many or too few."""
    while len(chosen) > num_images:
        spare = wanted[chosen].sum(axis=0) - wanted[chosen]  # (N, 2K): number of other chosen images with each property
        last_of = ((spare == 0) & wanted[chosen]).sum(axis=1)
        chosen.pop(int(np.lexsort((wanted[chosen].sum(axis=1), last_of))[0]))
    while len(chosen) < num_images:
        missing = ~wanted[chosen].any(axis=0)
        new = (wanted[others] & missing).sum(axis=1)
        chosen.append(others.pop(int(np.lexsort((-wanted[others].sum(axis=1), -new))[0])))
    return sorted(chosen)
