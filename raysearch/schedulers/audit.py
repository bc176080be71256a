"""The share of trials that no rule stops, so that its early scores can be audited on what it would have stopped."""

import numpy as np

_STREAM = 1
"""Keeps these draws apart from those of the search algorithms and the other rules, which share the seed."""


def is_audited(seed: int, number: int, audit_fraction: float) -> bool:
    """Whether trial `number` runs on past every stop: a draw from the seed of the search and the number alone."""
    draws = np.random.default_rng(np.random.SeedSequence([seed, number], spawn_key=(_STREAM,)))
    return bool(draws.random() < audit_fraction)
