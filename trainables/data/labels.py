"""Raw label values to class indices, through one table of 256 entries, and back."""

import numpy as np
from numpy.typing import NDArray

from trainables.config import IGNORE_INDEX, DataConfig


def label_table(config: DataConfig) -> NDArray[np.uint8]:
    """Class index of every raw value: (256,) uint8 in [0, K) or 255; `table[label]` maps a whole label image.

    A value becomes its position in `label_class_ids`; values not listed, and 255, are ignored. With
    `reduce_zero_label` position 0 is ignored as well and the others move down by one, so K + 1 ids make K classes.
    """
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[raw_values(config)] = np.arange(config.num_classes, dtype=np.uint8)
    return table


def class_histograms(histograms: NDArray[np.int64], config: DataConfig) -> NDArray[np.int64]:
    """(N, K) pixels of every class, of (N, 256) pixels of every raw value."""
    counts = np.zeros((256, len(histograms)), np.int64)
    np.add.at(counts, label_table(config), histograms.T)
    return counts[: config.num_classes].T


def raw_values(config: DataConfig) -> NDArray[np.uint8]:
    """Raw label value of every class: (K,) uint8; `raw_values(config)[classes]` is what `label_table` maps back."""
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    return np.array(ids, np.uint8)
