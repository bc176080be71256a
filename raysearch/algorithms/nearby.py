"""What to start instead of values that may not be started: those nearest to them that may.

A draw at random would forget what the algorithm has learnt. Where the best configs lie at the edge of what fits into
memory or holds a constraint, most proposals fall just beyond it, and their nearest neighbours lie just inside.
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
"""Combinations up to which a finite space is searched as a whole."""

_NUM_SPREAD, _NUM_AROUND = 512, 512
"""Points looked at elsewhere, all over the space and around the values."""

_REACHES = 0.003, 0.3
"""Standard deviations of the distances of the points around, in sides of the cube."""


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
        seed: Of the points that are looked at; a finite space of moderate size is looked at as a whole.
        may_start: Tells values that may be started.
        doubt: How suspect values are; above 0 they are.

    Returns:
        None where nothing was found that may be started; a finite space of moderate size then holds nothing.
    """
    candidates = _candidates(searched, wished, seed)
    space = Space(searched)
    features = np.array([space.features_of(values) for values in candidates])
    distances = np.linalg.norm(features - space.features_of(dict(wished)), axis=1)
    ranked = [candidates[place] for place in np.argsort(distances, kind="stable")]
    doubts = [doubt(values) for values in ranked]
    sure = (values for values, amount in zip(ranked, doubts, strict=True) if amount <= 0.0)
    found = next(filter(may_start, sure), None)
    if found is None:
        suspects = [(amount, place) for place, amount in enumerate(doubts) if amount > 0.0]
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
    """Return True if the space is finite and all its combinations can be looked at."""
    if not grid.is_finite(searched):
        return False
    counted = itertools.islice(grid.combinations(searched), _MAX_COMBINATIONS + 1)
    return sum(1 for _ in counted) <= _MAX_COMBINATIONS
