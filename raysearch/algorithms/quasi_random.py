"""Quasi-random search: a scrambled Sobol sequence over all parameters."""

from typing import Any

import numpy as np
from scipy.stats import qmc

from raysearch.algorithms.unit_cube import active_values, from_unit
from raysearch.space import SearchSpec


def suggest(spec: SearchSpec, index: int, sequence_number: int) -> dict[str, Any]:
    """Point `index` of one of the sequences that the search's seed scrambles.

    Every sequence is scrambled anew, so that its point takes the place of a rejected one and the index goes on.
    """
    rng = np.random.default_rng([spec.search.seed, sequence_number])
    sequence = qmc.Sobol(len(spec.parameters), scramble=True, rng=rng)
    if index > 0:  # SciPy's Sobol sequence cannot be forwarded by nothing
        sequence.fast_forward(index)
    point = sequence.random(1)[0]
    values = {p.path: from_unit(p.distribution, float(u)) for p, u in zip(spec.parameters, point, strict=True)}
    return active_values(spec, values)
