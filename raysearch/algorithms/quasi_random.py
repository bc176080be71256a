"""Quasi-random search: a scrambled Sobol sequence over all parameters."""

from typing import Any

from scipy.stats import qmc

from raysearch.algorithms.unit_cube import active_values, from_unit
from raysearch.space import SearchSpec


def suggest(spec: SearchSpec, index: int) -> dict[str, Any]:
    """Point `index` of the sequence that the search's seed scrambles."""
    sequence = qmc.Sobol(len(spec.parameters), scramble=True, rng=spec.search.seed)
    point = sequence.fast_forward(index).random(1)[0]
    values = {p.path: from_unit(p.distribution, float(u)) for p, u in zip(spec.parameters, point, strict=True)}
    return active_values(spec, values)
