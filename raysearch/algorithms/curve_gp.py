"""Bayesian optimisation over learning curves: a Gaussian process that learns from trials before their end too.

Optuna's own Gaussian process knows a trial by one number, all numbers being equally certain. Here a trial is known by
what it is expected to reach at the full budget: a completed one by what it reached; any other by its newest score plus
what completed trials gained from that iteration on, as uncertain as these gains scatter. So a trial that was stopped
early says little, wherever early scores say little, and a running trial says what it has shown so far.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, variance
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.stats import norm, qmc

from raysearch.algorithms import quasi_random
from raysearch.algorithms.optuna_samplers import window
from raysearch.algorithms.unit_cube import active_values, from_unit, to_unit
from raysearch.journal import History, Report, TrialHistory
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


@dataclass(frozen=True)
class Observation:
    """What a trial is expected to reach at the full budget."""

    trial: TrialHistory
    loss: float
    """Small is good."""
    variance: float
    """How uncertain that is, beyond the noise of a score at the full budget."""


def suggest(spec: SearchSpec, history: History, seed: int, index: int, num_rejected: int) -> dict[str, Any] | None:
    """The values with the largest expected improvement; a quasi-random point while there are few trials to go by."""
    if not spec.parameters:
        return {}
    trials = window(history, seed)
    observed = observations(trials, history)
    if len(observed) <= len(spec.parameters):  # a plane through them would fit everything
        return quasi_random.suggest(spec, index - num_rejected, num_rejected)
    space = _Space(spec)
    x = np.array([space.features_of(observation.trial.params) for observation in observed])
    losses = np.array([observation.loss for observation in observed])
    scale = float(losses.std()) or 1.0
    y = (losses - losses.mean()) / scale
    process = fit(x, y, np.array([observation.variance for observation in observed]) / scale**2, space.groups)
    pending = [trial for trial in trials if trial.effective_status == "running"]
    if pending:
        process = process.expecting(np.array([space.features_of(trial.params) for trial in pending]))
    expected, _ = process.posterior(process.x)
    lowest = float(expected.min())

    def improvement(points: Array) -> Array:
        return log_expected_improvement(*process.posterior(space.features_at(points)), lowest)

    rng = np.random.default_rng(seed)
    centres = np.array([space.point_of(o.trial.params) for o in observed])
    best = centres[np.argsort(expected[: len(observed)], kind="stable")[:_NUM_CENTRES]]
    candidates = np.concatenate([space.spread(rng, _NUM_SPREAD), _around(best, rng, _REACHES)])
    gains = improvement(candidates)
    refined = _around(
        candidates[np.argsort(-gains, kind="stable")[:_NUM_REFINED]], rng, tuple(r / 10 for r in _REACHES)
    )
    candidates, gains = np.concatenate([candidates, refined]), np.concatenate([gains, improvement(refined)])
    tried = [trial.values for trial in history.trials]
    ranked = (space.values_at(candidates[place]) for place in np.argsort(-gains, kind="stable"))
    return next((values for values in ranked if values not in tried and spec.allows(values)), None)


def observations(trials: Sequence[TrialHistory], history: History) -> list[Observation]:
    """What every trial that has reported is expected to reach.

    Infeasible trials, and those that break a constraint on what is reported, are as bad as the worst.
    """
    sign = 1.0 if history.mode == "min" else -1.0
    finals = {trial.number: sign * b.value for trial in history.known_trials if (b := _final(trial, history))}
    gains: dict[int, list[float]] = {}
    """By iteration: from it to the end, of every completed trial that reported there."""
    scores: dict[int, list[float]] = {}
    for trial in history.known_trials:
        for iteration, report in trial.reports.items():
            scores.setdefault(iteration, []).append(sign * report.value)
            if trial.number in finals:
                gains.setdefault(iteration, []).append(finals[trial.number] - sign * report.value)
    observed, bad = [], []
    for trial in trials:
        if trial.status == "infeasible" or trial.broken(history.mode):
            bad.append(trial)
        elif trial.number in finals:
            observed.append(Observation(trial, finals[trial.number], 0.0))
        elif trial.last is not None:
            gained = gains.get(trial.last.iteration, [])
            known = gained if len(gained) >= 3 else scores[trial.last.iteration]
            spread = variance(known) if len(known) >= 2 else 0.0
            loss = sign * trial.last.value + (mean(gained) if gained else 0.0)
            observed.append(Observation(trial, loss, spread))
    worst = max((observation.loss for observation in observed), default=0.0)
    return observed + [Observation(trial, worst, 0.0) for trial in bad]


def _final(trial: TrialHistory, history: History) -> Report | None:
    return trial.best(history.mode) if trial.status == "completed" else None


# The model


@dataclass(frozen=True)
class Process:
    """A Gaussian process with mean 0, a Matern 5/2 kernel and a length scale for every parameter."""

    x: Array
    """(n, F) features."""
    y: Array
    noise: Array
    """(n,) Variance of every y."""
    groups: npt.NDArray[np.int64]
    """(F,) Parameter of every feature."""
    length_scales: Array
    """By parameter."""
    signal: float
    """Variance of the function."""
    new_noise: float
    """Variance of a score at the full budget."""

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the function at (m, F) features."""
        cross = self._kernel(x, self.x)
        lower = cholesky(self._kernel(self.x, self.x) + np.diag(self.noise), lower=True)
        expected = cross @ cho_solve((lower, True), self.y)
        explained = (solve_triangular(lower, cross.T, lower=True) ** 2).sum(axis=0)
        return expected, np.sqrt(np.maximum(self.signal - explained, 1e-12))

    def expecting(self, x: Array) -> "Process":
        """The process as it would be if the trials at (m, F) features reached just what is expected of them."""
        return Process(
            x=np.concatenate([self.x, x]),
            y=np.concatenate([self.y, self.posterior(x)[0]]),
            noise=np.concatenate([self.noise, np.full(len(x), self.new_noise)]),
            groups=self.groups,
            length_scales=self.length_scales,
            signal=self.signal,
            new_noise=self.new_noise,
        )

    def _kernel(self, first: Array, second: Array) -> Array:
        scales = self.length_scales[self.groups]
        squared = ((first[:, None] - second[None]) / scales) ** 2
        covariance: Array = self.signal * _matern(np.sqrt(squared.sum(axis=-1)))[0]
        return covariance


def fit(x: Array, y: Array, variances: Array, groups: npt.NDArray[np.int64]) -> Process:
    """The most probable process for (n, F) features and n standardised losses with known further variances.

    Priors: a length scale is about half of the cube's diagonal, within a factor of e or so; the function's variance
    about that of the losses; the noise about a tenth of it, within a factor of five or so.
    """
    num_parameters = int(groups.max()) + 1
    squared = np.stack([((x[:, None] - x[None])[..., groups == p] ** 2).sum(axis=-1) for p in range(num_parameters)])
    centre = np.concatenate([np.full(num_parameters, math.log(0.5 * math.sqrt(num_parameters))), [0.0, math.log(0.1)]])
    width = np.concatenate([np.ones(num_parameters), [1.0, 1.5]])

    def loss(parameters: Array) -> tuple[float, Array]:
        """Negative logarithm of the posterior density, with its gradient."""
        weights = np.exp(-2.0 * parameters[:num_parameters])
        signal, noise = np.exp(parameters[num_parameters:])
        correlation, slope = _matern(np.sqrt(np.tensordot(weights, squared, axes=1)))
        covariance = signal * correlation + np.diag(noise + variances)
        lower = cholesky(covariance, lower=True)
        solved = cho_solve((lower, True), y)
        inner = cho_solve((lower, True), np.eye(len(y))) - np.outer(solved, solved)
        off = (parameters - centre) / width
        value = 0.5 * float(y @ solved) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(off @ off)
        by_scale = signal * weights * np.tensordot(squared, inner * slope, axes=([1, 2], [0, 1]))
        gradient = 0.5 * np.concatenate([by_scale, [signal * (inner * correlation).sum(), noise * np.trace(inner)]])
        return value, gradient + off / width

    found = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=[(c - 6, c + 6) for c in centre]).x
    signal, noise = (float(value) for value in np.exp(found[num_parameters:]))
    return Process(x, y, noise + variances, groups, np.exp(found[:num_parameters]), signal, noise)


def _matern(distance: Array) -> tuple[Array, Array]:
    """The correlation at a distance r, and its derivative by the logarithm of a length scale per squared distance."""
    root = math.sqrt(5.0) * distance
    decay = np.exp(-root)
    return (1.0 + root + root**2 / 3.0) * decay, 5.0 / 3.0 * (1.0 + root) * decay


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


# The space


class _Space:
    """Searched values as points of the unit cube, (D,), and as the features, (F,), that distances are taken of.

    A number is one feature; a choice among k is k of them, at a distance of 1 from any other. What is not active lies
    in the middle.
    """

    def __init__(self, spec: SearchSpec) -> None:
        self._spec = spec
        widths = [
            len(p.distribution.choices) if isinstance(p.distribution, CategoricalDistribution) else 1
            for p in spec.parameters
        ]
        self.groups = np.repeat(np.arange(len(widths)), widths)

    def values_at(self, point: Array) -> dict[str, Any]:
        parameters = zip(self._spec.parameters, point, strict=True)
        return active_values(self._spec, {p.path: from_unit(p.distribution, float(u)) for p, u in parameters})

    def features_at(self, points: Array) -> Array:
        """(N, F) of (N, D) points; a whole number is not rounded here."""
        columns = [_feature_columns(p.distribution, u) for p, u in zip(self._spec.parameters, points.T, strict=True)]
        features = np.concatenate(columns, axis=1)
        if any(p.when for p in self._spec.parameters):
            for row, point in zip(features, points, strict=True):
                values = self.values_at(point)
                inactive = [place for place, p in enumerate(self._spec.parameters) if p.path not in values]
                row[np.isin(self.groups, inactive)] = 0.5
        return features

    def features_of(self, values: dict[str, Any]) -> list[float]:
        return [f for p in self._spec.parameters for f in _features(p.distribution, values, p.path)]

    def point_of(self, values: dict[str, Any]) -> list[float]:
        return [_coordinate(p.distribution, values, p.path) for p in self._spec.parameters]

    def spread(self, rng: np.random.Generator, num_points: int) -> Array:
        points: Array = qmc.Sobol(len(self._spec.parameters), rng=rng).random(num_points)
        return points


def _features(distribution: BaseDistribution, values: dict[str, Any], path: str) -> list[float]:
    if not isinstance(distribution, CategoricalDistribution):
        return [_coordinate(distribution, values, path)]
    if path not in values:
        return [0.5] * len(distribution.choices)
    return [math.sqrt(0.5) * (values[path] == choice) for choice in distribution.choices]


def _feature_columns(distribution: BaseDistribution, coordinates: Array) -> Array:
    if not isinstance(distribution, CategoricalDistribution):
        return coordinates[:, None]
    num_choices = len(distribution.choices)
    chosen: Array = math.sqrt(0.5) * np.eye(num_choices)[(coordinates * num_choices).astype(int)]
    return chosen


def _coordinate(distribution: BaseDistribution, values: dict[str, Any], path: str) -> float:
    if path not in values:
        return 0.5
    if isinstance(distribution, CategoricalDistribution):
        return (distribution.choices.index(values[path]) + 0.5) / len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return to_unit(distribution, values[path])


def _around(centres: Array, rng: np.random.Generator, reaches: tuple[float, ...]) -> Array:
    """Points near each centre, in [0, 1); some coordinates of each stay as they are."""
    shape = len(centres), _NUM_AROUND
    nearest, farthest = (math.log(reach) for reach in reaches)
    reach = np.exp(rng.uniform(nearest, farthest, size=(*shape, 1)))
    moved = rng.random((*shape, centres.shape[1])) < 0.5
    points = centres[:, None] + moved * reach * rng.standard_normal((*shape, centres.shape[1]))
    inside: Array = np.clip(points.reshape(-1, centres.shape[1]), 0.0, np.nextafter(1.0, 0.0))
    return inside
