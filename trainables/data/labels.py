"""Conversion between raw label values and class indices, by one table of 256 entries."""

import numpy as np
from numpy.typing import NDArray

from trainables.config import IGNORE_INDEX, DataConfig


def label_table(config: DataConfig) -> NDArray[np.uint8]:
    """Return the class index of each raw value: (256,) uint8 in [0, K) or 255; `table[label]` maps a whole label image.

    A value becomes its position in `label_class_ids`. Values that are not listed, and 255, are ignored. With
    `reduce_zero_label`, position 0 is also ignored and the others move down by one, so that K + 1 ids make K classes.
    """
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[raw_values(config)] = np.arange(config.num_classes, dtype=np.uint8)
    return table


def class_histograms(histograms: NDArray[np.int64], config: DataConfig) -> NDArray[np.int64]:
    """Return the pixels of each class, (N, K), from the pixels of each raw value, (N, 256)."""
    counts = np.zeros((256, len(histograms)), np.int64)
    np.add.at(counts, label_table(config), histograms.T)
    return counts[: config.num_classes].T


def raw_values(config: DataConfig) -> NDArray[np.uint8]:
    """Return the raw label value of each class, (K,) uint8; `raw_values(config)[classes]` reverses `label_table`."""
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    return np.array(ids, np.uint8)
