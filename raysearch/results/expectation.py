"""Expected score of a trial's config if it were retrained, estimated from similar trials.

The best of many noisy scores is probably a lucky one. The model of the default algorithm (`algorithms/curve_model.py`)
is fitted to all trials, whichever algorithm proposed them. It estimates which part of a score is due to the config. All
trials of a search use the same seed, so only `confirm` can measure an effect of the seed on all of them.
"""

from dataclasses import dataclass

import numpy as np

from raysearch.algorithms.curve_model import model_of
from raysearch.algorithms.optuna_samplers import window
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec


@dataclass(frozen=True)
class Expectation:
    """The expected score of a trial's config at the full budget."""

    trial: TrialHistory
    mean: float
    """Expected value of the first objective."""
    deviation: float
    """Standard deviation of the expected value."""


def expectations(spec: SearchSpec, history: History) -> list[Expectation]:
    """Return the expected scores of all completed trials that can win, the best first.

    A trial that violates a constraint on metrics comes after all trials that satisfy every constraint. The list is
    empty if there are too few trials for a model. In a very long search the model only uses the best trials and a
    sample of the others.
    """
    whole = [trial for trial in history.ranked() if trial.status == "completed"]
    model = model_of(spec, window(history, spec.search.seed), history) if spec.parameters and whole else None
    if model is None:
        return []
    means, deviations = model.process.posterior(np.array([model.space.features_of(trial.params) for trial in whole]))
    sign = 1.0 if history.mode == "min" else -1.0
    found = [
        Expectation(trial, sign * (model.centre + model.scale * float(mean)), model.scale * float(deviation))
        for trial, mean, deviation in zip(whole, means, deviations, strict=True)
    ]
    return sorted(found, key=lambda e: (not history.is_admissible(e.trial), sign * e.mean))
