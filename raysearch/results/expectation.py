"""What a trial's config would score on average: its score with its luck taken out, as far as the other trials tell.

The best of many noisy scores is a lucky one more often than not. The model that the default algorithm searches with
(`algorithms/curve_model.py`) knows, whatever algorithm has searched, what trials with similar values reached, and so
how much of a score is the config's own. All trials of a search have one seed: what a seed does to all of them alike is
for `confirm` to tell.
"""

from dataclasses import dataclass

import numpy as np

from raysearch.algorithms.curve_model import model_of
from raysearch.algorithms.optuna_samplers import window
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec


@dataclass(frozen=True)
class Expectation:
    """What the config of a trial is expected to score at the full budget."""

    trial: TrialHistory
    mean: float
    """Of the first objective."""
    deviation: float
    """How uncertain the mean is: a standard deviation."""


def expectations(spec: SearchSpec, history: History) -> list[Expectation]:
    """Of every trial that was trained to the full budget and can win, the best expectation first.

    A trial that breaks a constraint on what is reported comes after all that hold every one. Empty while there are too
    few trials to go by. Of a very long search the model sees the best trials and a draw of the rest.
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
