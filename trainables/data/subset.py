"""A part of a split that stands for all of it: the images that reports score where not all are scored."""

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.decoded import DecodedSplit
from trainables.data.labels import class_histograms
from trainables.data.splitting import stratified


def stratified_images(split: DecodedSplit, config: DataConfig, num_images: int | None) -> list[int]:
    """The places of `num_images` images of a split, ascending; all where there are no more or none are asked for.

    Every class has its share of the images that have it, and of those that have much of it, as far as the number
    allows. A function of the labels alone: all trials of a search are scored on the same images.
    """
    if num_images is None or num_images >= len(split):
        return list(range(len(split)))
    pixels = class_histograms(split.histograms, config)
    wanted = _properties(pixels)
    names = [f"{i:09d}" for i in range(len(split))]
    share = num_images / len(split)
    chosen = stratified(wanted, names, {"chosen": share, "others": 1 - share}, seed=0)
    return _exactly(num_images, chosen["chosen"].tolist(), chosen["others"].tolist(), wanted)


def subset_notices(split: DecodedSplit, config: DataConfig, num_images: int | None) -> list[str]:
    """What is lost by scoring `num_images` images of a split, one line each."""
    if num_images is None or num_images >= len(split):
        return []
    pixels = class_histograms(split.histograms, config)
    num_with = (pixels > 0).sum(axis=0)
    num_chosen = (pixels[stratified_images(split, config, num_images)] > 0).sum(axis=0)
    names = config.class_names or [f"class {k}" for k in range(config.num_classes)]
    where = f"evaluation.num_images = {num_images}"
    return [
        f"{where}: {name} is in none of the images that reports score, and in {count} of the {len(split)}"
        for name, count, kept in zip(names, num_with, num_chosen, strict=True)
        if count > 0 and kept == 0
    ]


def _properties(pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, 2K) of (N, K) pixels: whether an image has a class, and no less of it than the median of those that do."""
    present = pixels > 0
    medians = [np.median(column[column > 0]) if column.any() else np.inf for column in pixels.T]
    return np.column_stack([present, pixels >= np.array(medians)])


def _exactly(num_images: int, chosen: list[int], others: list[int], wanted: NDArray[np.bool_]) -> list[int]:
    """Shares are of whole images, so a stratified choice may be a few too large or too small."""
    while len(chosen) > num_images:
        spare = wanted[chosen].sum(axis=0) - wanted[chosen]  # (N, 2K): what is left of everything without an image
        last_of = ((spare == 0) & wanted[chosen]).sum(axis=1)
        chosen.pop(int(np.lexsort((wanted[chosen].sum(axis=1), last_of))[0]))
    while len(chosen) < num_images:
        missing = ~wanted[chosen].any(axis=0)
        new = (wanted[others] & missing).sum(axis=1)
        chosen.append(others.pop(int(np.lexsort((-wanted[others].sum(axis=1), -new))[0])))
    return sorted(chosen)
