"""Replacement of values that may not be started by the nearest values that may.

A random draw would ignore what the algorithm has learnt. If the best configs lie at the edge of memory or of a
constraint, most proposals fall just beyond it, and their nearest neighbours lie just inside.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from raysearch.algorithms import grid
from raysearch.algorithms.curve_model import Space
from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.algorithms.unit_cube import around, draw_at_random

_MAX_COMBINATIONS = 20_000
"""Largest number of combinations for which a finite space is searched completely."""

_NUM_SPREAD, _NUM_AROUND = 512, 512
"""Number of candidates spread over any other space, and number of candidates around the values."""

_REACHES = 0.003, 0.3
"""Smallest and largest standard deviation of the distances of the candidates around, in sides of the unit cube."""


def nearest(
    searched: SearchedSpace,
    wished: Mapping[str, Any],
    seed: int,
    may_start: Callable[[Mapping[str, Any]], bool],
    doubt: Callable[[Mapping[str, Any]], float],
) -> dict[str, Any] | None:
    """Return the values nearest to `wished` that may be started and are not suspect, else the least suspect ones.

    Args:
        searched: The space of the search.
        wished: Searched values by path.
        seed: Seed of the candidates; a small finite space is searched completely instead.
        may_start: Function that returns True if values may be started.
        doubt: Function that returns how suspect values are; they are suspect above 0.

    Returns:
        Values by path; None if none were found. In a small finite space None means that no values are left.
    """
    candidates = _candidates(searched, wished, seed)
    space = Space(searched)
    features = np.array([space.features_of(values) for values in candidates])
    distances = np.linalg.norm(features - space.features_of(dict(wished)), axis=1)
    ranked: list[dict[str, Any]] = [candidates[place] for place in np.argsort(distances, kind="stable")]
    suspects: list[tuple[float, int]] = []
    for place, values in enumerate(ranked):
        amount = doubt(values)
        if amount > 0.0:
            suspects.append((amount, place))
        elif may_start(values):
            return values
    found = next(filter(may_start, (ranked[place] for _, place in sorted(suspects))), None)
    return found if found is not None or _is_small(searched) else draw_at_random(searched, seed, may_start)


def _candidates(searched: SearchedSpace, wished: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    if _is_small(searched):
        return list(grid.combinations(searched))
    space, rng = Space(searched), np.random.default_rng(seed)
    centre = np.array([space.point_of(dict(wished))])
    points = np.concatenate([around(centre, _NUM_AROUND, rng, _REACHES), rng.random((_NUM_SPREAD, centre.shape[1]))])
    return [space.values_at(point) for point in points]


def _is_small(searched: SearchedSpace) -> bool:
    """Return True if the space is finite and small enough to be searched completely."""
    if not grid.is_finite(searched):
        return False
    counted = itertools.islice(grid.combinations(searched), _MAX_COMBINATIONS + 1)
    return sum(1 for _ in counted) <= _MAX_COMBINATIONS
