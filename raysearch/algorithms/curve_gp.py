"""Bayesian optimisation over learning curves.

Optuna's own Gaussian process describes a trial by one number and takes all of them as equally certain. `curve_model.py`
takes into account how little a trial that was stopped early says.

Scores are noisy, and the expected improvement alone returns to the luckiest config again and again. It is therefore
multiplied by the share of another score that would be information rather than noise.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, qmc

from raysearch.algorithms.curve_model import model_of
from raysearch.algorithms.history_sampler import HistorySampler, Question
from raysearch.algorithms.optuna_samplers import window
from raysearch.algorithms.quasi_random import point
from raysearch.algorithms.unit_cube import around

Array = npt.NDArray[np.float64]

_NUM_SPREAD = 512
"""Number of candidates spread over the whole space."""
_NUM_CENTRES, _NUM_AROUND = 8, 64
"""Number of points with the best expected losses, and number of candidates around each of them."""
_REACHES = 0.01, 0.3
"""Smallest and largest standard deviation of the distances of these candidates, in sides of the unit cube.

It is drawn on a logarithmic scale.
"""
_NUM_REFINED, _NUM_ROUNDS = 4, 4
"""Number of best candidates that are refined in a round by candidates a tenth as far away, and number of rounds."""


class CurveGPSampler(HistorySampler):
    """A Gaussian process that also learns from the intermediate values of completed, pruned and running trials.

    It is meant for one objective with noisy scores or with trials that are pruned. If trials report intermediate
    values, each counts with the value that it is expected to reach, as uncertain as the trials so far suggest.
    """

    def propose(self, question: Question) -> dict[str, Any] | None:
        """Return the values with the largest augmented improvement among those that may be started.

        As long as there are too few trials for a model, the values are a quasi-random point.
        """
        parameters, history = question.space.parameters, question.history
        if not parameters:
            return {}
        seed = question.seed(self.seed)
        trials = window(history, seed)
        model = model_of(question.space, trials, history)
        if model is None:
            return point(question, self.seed)
        space, process = model.space, model.process
        pending = [trial for trial in trials if trial.effective_status == "running"]
        if pending:
            process = process.expecting(np.array([space.features_of(trial.params) for trial in pending]))
        expected, _ = process.posterior(process.x)
        lowest = float(expected.min())

        def improvement(points: Array) -> Array:
            moments = process.posterior(space.features_at(points))
            return log_augmented_improvement(*moments, lowest, process.new_noise)

        rng = np.random.default_rng(seed)
        centres = np.array([space.point_of(o.trial.params) for o in model.observed])
        nearby = centres[np.argsort(expected[: len(centres)], kind="stable")[:_NUM_CENTRES]]
        spread = qmc.Sobol(len(parameters), rng=rng).random(_NUM_SPREAD)
        candidates = np.concatenate([spread, around(nearby, _NUM_AROUND, rng, _REACHES)])
        gains = improvement(candidates)
        for _ in range(_NUM_ROUNDS):
            best = candidates[np.argsort(-gains, kind="stable")[:_NUM_REFINED]]
            refined = around(best, _NUM_AROUND, rng, (_REACHES[0] / 10, _REACHES[1] / 10))
            candidates, gains = np.concatenate([candidates, refined]), np.concatenate([gains, improvement(refined)])
        ranked = (space.values_at(candidates[place]) for place in np.argsort(-gains, kind="stable"))
        return next(filter(question.may_start, ranked), None)


def log_augmented_improvement(expected: Array, deviation: Array, lowest: float, noise: float) -> Array:
    """Return the logarithm of the augmented expected improvement, (m,).

    The expected improvement is multiplied by 1 - tau / sqrt(s^2 + tau^2), where s is `deviation` and tau^2 is `noise`
    (Huang, Allen, Notz, Zeng: Global Optimization of Stochastic Black-Box Systems via Sequential Kriging Meta-Models,
    2006).

    Args:
        expected: (m,) means of the losses.
        deviation: (m,) standard deviations of the losses.
        lowest: Loss that is to be improved, in the same unit.
        noise: Variance of one further score, in the square of that unit.
    """
    news = -np.expm1(-0.5 * np.log1p(deviation**2 / noise))
    logarithm: Array = log_expected_improvement(expected, deviation, lowest) + np.log(news)
    return logarithm


def log_expected_improvement(expected: Array, deviation: Array, lowest: float) -> Array:
    """Return the logarithm of the expected amount by which normal variables fall below `lowest`, (m,).

    For z far below 0, phi(z) + z Phi(z) is lost to rounding, and its leading term phi(z) / z^2 is used instead.

    Args:
        expected: (m,) means.
        deviation: (m,) standard deviations.
        lowest: Value in the same unit.
    """
    z = (lowest - expected) / deviation
    near = np.maximum(z, -6.0)
    gain = np.log(norm.pdf(near) + near * norm.cdf(near))
    far = norm.logpdf(z) - 2.0 * np.log(np.maximum(-z, 1.0))
    logarithm: Array = np.log(deviation) + np.where(z > -6.0, gain, far)
    return logarithm
