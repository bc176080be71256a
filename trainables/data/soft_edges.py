"""Detection of labels whose values are blended along edges, by resizing, JPEG or smooth drawing."""

import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.data.output_folder import free_folder
from trainables.plurals import counted

FEWEST_EDGE_VALUES = 8
"""Minimum number of values without their own area for labels to count as blended. These values must also be at least
twice as many as the others.
"""
SMALLEST_AREA = 0.1
"""Minimum share of inner pixels for a value to have areas of its own. In labels of three classes, the classes have .4
to .98 and blended values below .05; CamVid's poles, its thinnest class, have .38.
"""


class SoftEdges(NamedTuple):
    """Values of blended labels."""

    likely_classes: tuple[int, ...]
    """Values that have areas of their own, ascending."""
    num_edge_values: int
    """Number of other values."""
    num_pixels: int
    """Number of pixels of the other values."""


def inner_pixels(label: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count the pixels of each value whose four neighbours have the same value: (256 or more,) int64.

    Args:
        label: (H, W), values from 0.
    """
    inner = label[1:-1, 1:-1]
    alike = np.ones(inner.shape, bool)
    for neighbour in (label[:-2, 1:-1], label[2:, 1:-1], label[1:-1, :-2], label[1:-1, 2:]):
        alike &= inner == neighbour
    return np.bincount(inner[alike], minlength=256)


def soft_edges(pixels: NDArray[np.int64], inner: NDArray[np.int64]) -> SoftEdges | None:
    """Return the values of blended labels, or None if the labels do not look blended.

    Args:
        pixels: (V,) pixels of each value in all labels.
        inner: (V,) those of them that `inner_pixels` counts.
    """
    present = pixels > 0
    has_area = present & (inner >= SMALLEST_AREA * pixels)
    num_classes, num_others = int(has_area.sum()), int((present & ~has_area).sum())
    if num_classes < 2 or num_others < max(FEWEST_EDGE_VALUES, 2 * num_classes):
        return None
    classes = tuple(int(value) for value in np.flatnonzero(has_area))
    return SoftEdges(classes, num_others, int(pixels[present & ~has_area].sum()))


def convert_command(folder: Path) -> str:
    """Return the command that writes a copy of a dataset with the nearest likely class at each pixel, under its id."""
    words = shlex.join([str(folder), str(free_folder(folder, "hard"))])
    return f"python -m raysearch data convert {words} --nearest --values keep"


def soft_edges_notice(found: SoftEdges, total: int, folder: Path) -> str:
    """Return a line about blended labels.

    Args:
        found: Values of the labels.
        total: Pixels of all labels.
        folder: The dataset.
    """
    classes = ", ".join(map(str, found.likely_classes))
    values = counted(found.num_edge_values, "value has no area of its", "values have no area of their")
    return (
        f"the labels look blended along edges, as after resizing, JPEG or smooth drawing: {values} own "
        f"({100 * found.num_pixels / total:.2g} % of the pixels); the classes are "
        f"probably {classes}. To write a copy in which every pixel has the nearest of them:  {convert_command(folder)}"
    )
