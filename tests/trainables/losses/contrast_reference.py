"""The contrast loss in plain loops over float64 numbers, written from the definition alone."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def contrast_reference(
    anchors: Array,
    anchor_labels: npt.ArrayLike,
    keys: Array,
    key_labels: npt.ArrayLike,
    *,
    temperature: float,
    base_temperature: float | None = None,
    keys_are_anchors: bool = False,
    takes_part: npt.NDArray[np.bool_] | None = None,
) -> float:
    """Return the mean over anchors of the mean over positives j of the contrast term.

    The term is -log(e^s_ij / (e^s_ij + sum over negatives k of e^s_ik)).

    `takes_part` (N, M) excludes pairs from the sums; None excludes none.
    """
    anchor_labels, key_labels = np.asarray(anchor_labels), np.asarray(key_labels)
    if takes_part is None:
        takes_part = np.ones((len(anchors), len(keys)), bool)
    of_anchors = []
    for i, anchor in enumerate(anchors):
        similarities = [math.fsum(anchor * key) / temperature for key in keys]
        negatives = math.fsum(
            math.exp(s)
            for j, (s, label) in enumerate(zip(similarities, key_labels, strict=True))
            if label != anchor_labels[i] and takes_part[i, j]
        )
        of_positives = [
            math.log1p(negatives / math.exp(s))
            for j, (s, label) in enumerate(zip(similarities, key_labels, strict=True))
            if label == anchor_labels[i] and not (keys_are_anchors and i == j) and takes_part[i, j]
        ]
        if of_positives:
            of_anchors.append(sum(of_positives) / len(of_positives))
    if not of_anchors:
        return 0.0
    return temperature / (base_temperature or temperature) * sum(of_anchors) / len(of_anchors)


def numerical_gradient(function: Callable[[Array], Any], at: Array, step: float = 1e-6) -> Array:
    """Return the gradient of a scalar function of an array by central differences."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        moved = at.copy()
        moved[index] = at[index] + step
        above = function(moved)
        moved[index] = at[index] - step
        gradient[index] = (above - function(moved)) / (2 * step)
    return gradient
