"""The share of trials that no rule stops: they show whether stopped trials would have been good."""

from functools import cache

import numpy as np

_STREAM = 1
"""Number that makes these draws independent of those of the algorithms and other rules, which use the same seed."""


def is_audited(seed: int, number: int, audit_fraction: float) -> bool:
    """Return True if trial `number` continues past every stop; only the search's seed and the number decide this."""
    return _draw(seed, number) < audit_fraction


@cache
def _draw(seed: int, number: int) -> float:
    draws = np.random.default_rng(np.random.SeedSequence([seed, number], spawn_key=(_STREAM,)))
    return float(draws.random())
