"""Expected score of a trial's config if it were retrained with new seeds, estimated from all trials of the search.

The best of many noisy scores is probably a lucky one. The model of the default algorithm (`algorithms/curve_model.py`)
is fitted to all trials, whichever algorithm proposed them. It estimates which part of a score is due to the config.

What a new seed does to a score cannot be seen in a search, because all its trials use the same seed: only `confirm` can
measure it. What can be seen is how far a score is from what the trials around it let one expect (cross-validation).
That distance also holds all that the model does not know, and stands in for the effect of a seed here.
"""

from dataclasses import dataclass

import numpy as np

from raysearch.algorithms.curve_model import CurveModel, model_of
from raysearch.algorithms.optuna_samplers import window
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec

_QUANTILE = 2.3
"""Half of the width of a 95 % interval, in standard deviations.

It is above the 1.96 of a normal distribution, because what seeds do differs more between tasks than a search can tell.
It was found on the development half of `benchmarks/expected_scores.py`.
"""


@dataclass(frozen=True)
class Expectation:
    """The expected score of a trial's config at the full budget."""

    trial: TrialHistory
    mean: float
    """Expected value of the first objective."""
    config_deviation: float
    """Standard deviation of the config's own score, without the effects of seeds."""
    seed_deviation: float
    """Standard deviation that new seeds may add, by the errors of cross-validation."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean of three retrainings with new seeds."""
        half = _QUANTILE * float(np.hypot(self.config_deviation, self.seed_deviation))
        return self.mean - half, self.mean + half


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
    of_seed = model.scale * _error_of_the_better_half(model)
    found = [
        Expectation(trial, sign * (model.centre + model.scale * float(mean)), model.scale * float(deviation), of_seed)
        for trial, mean, deviation in zip(whole, means, deviations, strict=True)
    ]
    return sorted(found, key=lambda e: (not history.is_admissible(e.trial), sign * e.mean))


def _error_of_the_better_half(model: CurveModel) -> float:
    """Return the root mean square error of cross-validation among the better half of the completed trials."""
    predicted, _ = model.process.left_out()
    whole = np.array([observation.trial.status == "completed" for observation in model.observed])
    better = model.process.y <= np.median(model.process.y[whole])
    return float(np.sqrt(np.mean((predicted - model.process.y)[whole & better] ** 2)))
