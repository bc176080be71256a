"""Quasi-random search: a scrambled Sobol sequence over all parameters."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from raysearch.algorithms.unit_cube import active_values, from_unit
from raysearch.space.spec import SearchSpec

_MAX_POINTS = 2**13
"""Points of a sequence of which those that hold every constraint are taken."""


def suggest(spec: SearchSpec, index: int, sequence_number: int) -> dict[str, Any] | None:
    """Point `index`, of those that hold every constraint, of one of the sequences that the search's seed scrambles.

    Every sequence is scrambled anew, so that its point takes the place of a rejected one and the index goes on.
    """
    rng = np.random.default_rng([spec.search.seed, sequence_number])
    sequence = qmc.Sobol(len(spec.parameters), scramble=True, rng=rng)
    skipped = 0 if spec.constraints else index  # without constraints every point counts
    if skipped > 0:  # SciPy's Sobol sequence cannot be forwarded by nothing
        sequence.fast_forward(skipped)
    points = (_values(spec, sequence.random(1)[0]) for _ in range(_MAX_POINTS))
    return next(itertools.islice(filter(spec.allows, points), index - skipped, None), None)


def _values(spec: SearchSpec, point: npt.NDArray[np.float64]) -> dict[str, Any]:
    values = {p.path: from_unit(p.distribution, float(u)) for p, u in zip(spec.parameters, point, strict=True)}
    return active_values(spec, values)
