"""Bayesian optimisation over learning curves: proposes where the model of the curves expects the largest improvement.

Optuna's own Gaussian process knows a trial by one number, all numbers being equally certain; `curve_model.py` knows how
little a trial that was stopped early says.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, qmc

from raysearch.algorithms import quasi_random
from raysearch.algorithms.curve_model import model_of
from raysearch.algorithms.optuna_samplers import window
from raysearch.journal import History
from raysearch.space import SearchSpec

Array = npt.NDArray[np.float64]

_NUM_SPREAD = 512
"""Candidates all over the space."""
_NUM_CENTRES, _NUM_AROUND = 8, 64
"""Points with the best expectations, and candidates around each."""
_REACHES = 0.01, 0.3
"""Standard deviations of those candidates' distances, from which one is drawn on a logarithmic scale, in sides of the
cube."""
_NUM_REFINED = 4
"""Candidates with the best improvement, around which there is another round, a tenth as far."""


def suggest(spec: SearchSpec, history: History, seed: int, index: int, num_rejected: int) -> dict[str, Any] | None:
    """The values with the largest expected improvement; a quasi-random point while there are few trials to go by."""
    if not spec.parameters:
        return {}
    trials = window(history, seed)
    model = model_of(spec, trials, history)
    if model is None:
        return quasi_random.suggest(spec, index - num_rejected, num_rejected)
    space, process = model.space, model.process
    pending = [trial for trial in trials if trial.effective_status == "running"]
    if pending:
        process = process.expecting(np.array([space.features_of(trial.params) for trial in pending]))
    expected, _ = process.posterior(process.x)
    lowest = float(expected.min())

    def improvement(points: Array) -> Array:
        return log_expected_improvement(*process.posterior(space.features_at(points)), lowest)

    rng = np.random.default_rng(seed)
    centres = np.array([space.point_of(o.trial.params) for o in model.observed])
    best = centres[np.argsort(expected[: len(centres)], kind="stable")[:_NUM_CENTRES]]
    spread = qmc.Sobol(len(spec.parameters), rng=rng).random(_NUM_SPREAD)
    candidates = np.concatenate([spread, _around(best, rng, _REACHES)])
    gains = improvement(candidates)
    refined = _around(
        candidates[np.argsort(-gains, kind="stable")[:_NUM_REFINED]], rng, tuple(r / 10 for r in _REACHES)
    )
    candidates, gains = np.concatenate([candidates, refined]), np.concatenate([gains, improvement(refined)])
    tried = [trial.values for trial in history.trials]
    ranked = (space.values_at(candidates[place]) for place in np.argsort(-gains, kind="stable"))
    return next((values for values in ranked if values not in tried and spec.allows(values)), None)


def log_expected_improvement(expected: Array, deviation: Array, lowest: float) -> Array:
    """Logarithm of the expected amount by which a normal variable falls below `lowest`.

    Far beyond reach, where phi(z) + z Phi(z) is lost to rounding, its leading term phi(z) / z^2 stands for it.
    """
    z = (lowest - expected) / deviation
    near = np.maximum(z, -6.0)
    gain = np.log(norm.pdf(near) + near * norm.cdf(near))
    far = norm.logpdf(z) - 2.0 * np.log(np.maximum(-z, 1.0))
    logarithm: Array = np.log(deviation) + np.where(z > -6.0, gain, far)
    return logarithm


def _around(centres: Array, rng: np.random.Generator, reaches: tuple[float, ...]) -> Array:
    """Points near each centre, in [0, 1); some coordinates of each stay as they are."""
    shape = len(centres), _NUM_AROUND
    nearest, farthest = (math.log(reach) for reach in reaches)
    reach = np.exp(rng.uniform(nearest, farthest, size=(*shape, 1)))
    moved = rng.random((*shape, centres.shape[1])) < 0.5
    points = centres[:, None] + moved * reach * rng.standard_normal((*shape, centres.shape[1]))
    inside: Array = np.clip(points.reshape(-1, centres.shape[1]), 0.0, np.nextafter(1.0, 0.0))
    return inside
