"""Bayesian optimisation over learning curves: proposes where a training is expected to gain, and to teach, the most.

Optuna's own Gaussian process knows a trial by one number, all numbers being equally certain; `curve_model.py` knows how
little a trial that was stopped early says. A training's score is noisy: the expected improvement alone goes back to the
luckiest config again and again, so it is augmented by how much of a further score there would be news and not noise.
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
"""Candidates all over the space."""
_NUM_CENTRES, _NUM_AROUND = 8, 64
"""Points with the best expectations, and candidates around each."""
_REACHES = 0.01, 0.3
"""Standard deviations of those candidates' distances, from which one is drawn on a logarithmic scale, in sides of the
cube."""
_NUM_REFINED, _NUM_ROUNDS = 4, 4
"""Candidates with the best improvement, around which there are further ones, a tenth as far; how often that is done."""


class CurveGPSampler(HistorySampler):
    """A Gaussian process that learns from intermediate values too, of completed, pruned and running trials.

    For one objective, whose scores are noisy or whose trials are pruned: report intermediate values, and a trial counts
    as what it is expected to reach, as uncertain as the trials so far tell.
    """

    def propose(self, question: Question) -> dict[str, Any] | None:
        """Return the values with the largest augmented improvement, of those that may be started.

        While there are few trials to go by, it is a quasi-random point.
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
    """Logarithm of the expected improvement, times the share of a further score, of variance `noise`, that is news.

    `expected` and `deviation` are the mean and standard deviation of m losses, (m,) as is the result; `lowest` and the
    root of `noise` are in the same unit.

    The augmented expected improvement, whose factor is 1 - tau / sqrt(s^2 + tau^2) (Huang, Allen, Notz, Zeng: Global
    Optimization of Stochastic Black-Box Systems via Sequential Kriging Meta-Models, 2006).
    """
    news = -np.expm1(-0.5 * np.log1p(deviation**2 / noise))
    logarithm: Array = log_expected_improvement(expected, deviation, lowest) + np.log(news)
    return logarithm


def log_expected_improvement(expected: Array, deviation: Array, lowest: float) -> Array:
    """Logarithm of the expected amount by which a normal variable falls below `lowest`; (m,) of m means, m deviations.

    Far beyond reach, where phi(z) + z Phi(z) is lost to rounding, its leading term phi(z) / z^2 stands for it.
    """
    z = (lowest - expected) / deviation
    near = np.maximum(z, -6.0)
    gain = np.log(norm.pdf(near) + near * norm.cdf(near))
    far = norm.logpdf(z) - 2.0 * np.log(np.maximum(-z, 1.0))
    logarithm: Array = np.log(deviation) + np.where(z > -6.0, gain, far)
    return logarithm
