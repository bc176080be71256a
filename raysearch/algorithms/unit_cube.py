"""Conversion between parameters and points of the unit cube, for algorithms that only work on numbers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from raysearch.algorithms.searched_space import SearchedSpace


def from_unit(distribution: BaseDistribution, u: float) -> Any:
    """Return the value at `u` in [0, 1).

    The value is uniform on the distribution's own scale if `u` is uniform; all steps and choices have equal shares.
    """
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices[int(u * len(choices))]
        case IntDistribution(low=low, high=high, step=step, log=log):
            if log:
                edges = math.log(low - 0.5), math.log(high + 0.5)
                return min(max(round(math.exp(edges[0] + u * (edges[1] - edges[0]))), low), high)
            return low + step * int(u * ((high - low) // step + 1))
        case FloatDistribution(low=low, high=high, step=None, log=log):
            if log:
                return min(max(math.exp(math.log(low) + u * (math.log(high) - math.log(low))), low), high)
            return low + u * (high - low)
        case FloatDistribution(low=low, high=high, step=step):
            assert step is not None
            return min(low + step * int(u * (round((high - low) / step) + 1)), high)
    raise AssertionError(f"unknown distribution {distribution}")


def to_unit(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """Return the position of `value` in [0, 1] that `from_unit` maps back to it."""
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution):
        half = 0.5 if distribution.log else 0.5 * distribution.step
        low, high = low - half, high + half
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def active_values(space: SearchedSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values whose parameters are active, given the other values."""
    kept: dict[str, Any] = {}
    for parameter in space.parameters_in_order:
        if parameter.active(kept, space.config):
            kept[parameter.path] = values[parameter.path]
    return {parameter.path: kept[parameter.path] for parameter in space.parameters if parameter.path in kept}


def around(
    centres: npt.NDArray[np.float64], num: int, rng: np.random.Generator, reaches: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Return `num` random points near each of (N, D) centres, (N * num, D) in [0, 1).

    About half of the coordinates of a point keep their value. The standard deviation of its distance is drawn on a
    logarithmic scale between the two `reaches`. A coordinate that would leave the cube is reflected at its border, so
    that points do not gather there.
    """
    shape = len(centres), num
    nearest, farthest = (math.log(reach) for reach in reaches)
    reach = np.exp(rng.uniform(nearest, farthest, size=(*shape, 1)))
    moved = rng.random((*shape, centres.shape[1])) < 0.5
    points = centres[:, None] + moved * reach * rng.standard_normal((*shape, centres.shape[1]))
    reflected = 1.0 - np.abs(1.0 - np.abs(points.reshape(-1, centres.shape[1])))
    inside: npt.NDArray[np.float64] = np.clip(reflected, 0.0, np.nextafter(1.0, 0.0))
    return inside


_MAX_DRAWS = 4000
"""Number of random draws after which the space counts as exhausted."""


def draw_at_random(
    space: SearchedSpace, seed: int, may_start: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any] | None:
    """Return the first of many independent draws that may be started; None if none may."""
    rng = np.random.default_rng(seed)
    draws = (
        active_values(space, {p.path: from_unit(p.distribution, rng.random()) for p in space.parameters})
        for _ in range(_MAX_DRAWS)
    )
    return next(filter(may_start, draws), None)
