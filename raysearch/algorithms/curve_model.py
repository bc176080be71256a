"""Expected score of a config, from a Gaussian process that also learns from trials that have not completed.

Each trial enters with the value that it is expected to reach at the full budget. For a completed trial this is its
score. For any other trial it is its latest score plus the mean gain of completed trials from that iteration on, with
the variance of these gains. A trial that was stopped early therefore has little weight if early scores predict little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.algorithms.unit_cube import active_values, from_unit, to_unit
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory

Array = npt.NDArray[np.float64]

_POOR = 0.75
"""Share of the trials that are better than a poor one."""


_MAX_FITTED = 64
"""Largest number of observations to which the length scales and variances are fitted.

The process uses all observations; only the fit, which costs their cube many times, uses fewer.
"""


@dataclass(frozen=True)
class CurveModel:
    """The Gaussian process of the trials of a search, on standardised losses (smaller is better)."""

    space: "Space"
    observed: tuple["Observation", ...]
    process: "Process"
    centre: float
    """Loss that is 0 in standardised units."""
    scale: float
    """Loss difference that is 1 in standardised units."""


def model_of(searched: SearchedSpace, trials: Sequence[TrialHistory], history: History) -> CurveModel | None:
    """Return the process of some trials of a search; None if they are too few for a model."""
    observed = observations(trials, history)
    if len(observed) < min(10, 2 * len(searched.parameters)):
        return None
    space = Space(searched)
    x = np.array([space.features_of(observation.trial.params) for observation in observed])
    losses = without_outliers(np.array([observation.loss for observation in observed]))
    centre, scale = float(losses.mean()), float(losses.std()) or 1.0
    variances = np.array([observation.variance for observation in observed]) / scale**2
    process = fit(x, (losses - centre) / scale, variances, space.groups)
    return CurveModel(space, tuple(observed), process, centre, scale)


def without_outliers(losses: Array) -> Array:
    """Return losses with large ones lowered to Tukey's fence, the third quartile and 1.5 interquartile ranges.

    A training that diverges may report any number, and would otherwise decide what counts as a difference.
    """
    low, high = np.quantile(losses, [0.25, 0.75])
    capped: Array = np.minimum(losses, high + 1.5 * (high - low))
    return capped


@dataclass(frozen=True)
class Observation:
    """The value that a trial is expected to reach at the full budget."""

    trial: TrialHistory
    loss: float
    """Expected loss; smaller is better."""
    variance: float
    """Variance of `loss` beyond the noise of a score at the full budget."""


def observations(trials: Sequence[TrialHistory], history: History) -> list[Observation]:
    """Return the expected outcome of every trial that has reported, and of infeasible trials.

    Trials that violate a constraint on reported metrics count as bad as the worst trial. Infeasible trials count only
    as bad as a poor one: `feasibility.py` already avoids their surroundings, and the best config often lies right
    beside them.
    """
    sign = 1.0 if history.mode == "min" else -1.0
    finals = {trial.number: sign * b.value for trial in history.known_trials if (b := _final(trial, history))}
    gains: dict[int, list[float]] = {}
    """Gains from an iteration to the end, of every completed trial that reported at that iteration."""
    scores: dict[int, list[float]] = {}
    for trial in history.known_trials:
        for iteration, report in trial.reports.items():
            scores.setdefault(iteration, []).append(sign * report.value)
            if trial.number in finals:
                gains.setdefault(iteration, []).append(finals[trial.number] - sign * report.value)

    @cache
    def gain_from(iteration: int) -> tuple[float, float]:
        """Return the mean gain from an iteration on, and its variance."""
        gained = gains.get(iteration, [])
        known = gained if len(gained) >= 3 else scores[iteration]
        return fmean(gained) if gained else 0.0, float(np.var(known, ddof=1)) if len(known) >= 2 else 0.0

    observed, infeasible, breaking = [], [], []
    for trial in trials:
        if trial.status == "infeasible":
            infeasible.append(trial)
        elif trial.broken(history.mode):
            breaking.append(trial)
        elif trial.number in finals:
            observed.append(Observation(trial, finals[trial.number], 0.0))
        elif trial.last is not None:
            gain, spread = gain_from(trial.last.iteration)
            observed.append(Observation(trial, sign * trial.last.value + gain, spread))
    losses = [observation.loss for observation in observed] or [0.0]
    poor, worst = float(np.quantile(losses, _POOR)), max(losses)
    unfit = [Observation(trial, poor, 0.0) for trial in infeasible]
    return observed + unfit + [Observation(trial, worst, 0.0) for trial in breaking]


def _final(trial: TrialHistory, history: History) -> Report | None:
    return trial.best(history.mode) if trial.status == "completed" else None


@dataclass(frozen=True)
class Process:
    """A Gaussian process with mean 0, a Matérn 5/2 kernel and one length scale per parameter."""

    x: Array
    """(n, F) features."""
    y: Array
    noise: Array
    """(n,) variance of every y."""
    groups: npt.NDArray[np.int64]
    """(F,) index of the parameter that every feature belongs to."""
    length_scales: Array
    """Length scale of every parameter."""
    signal: float
    """Variance of the function."""
    new_noise: float
    """Variance of a score at the full budget."""

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Return the means and the standard deviations of the function, (m,) each, at (m, F) features."""
        cross = self._kernel(x, self.x)
        expected = cross @ self._weights
        explained = (solve_triangular(self._lower, cross.T, lower=True) ** 2).sum(axis=0)
        return expected, np.sqrt(np.maximum(self.signal - explained, 1e-12))

    def expecting(self, x: Array) -> "Process":
        """Return the process as it would be if the trials at (m, F) features reached their expected values."""
        return Process(
            x=np.concatenate([self.x, x]),
            y=np.concatenate([self.y, self.posterior(x)[0]]),
            noise=np.concatenate([self.noise, np.full(len(x), self.new_noise)]),
            groups=self.groups,
            length_scales=self.length_scales,
            signal=self.signal,
            new_noise=self.new_noise,
        )

    def left_out(self) -> tuple[Array, Array]:
        """Return what the process without an observation predicts for it: (n,) means and (n,) variances of a score.

        The closed form is that of Rasmussen and Williams, Gaussian Processes for Machine Learning, section 5.4.2.
        """
        inverse = cho_solve((self._lower, True), np.eye(len(self.y)))
        variances = 1.0 / np.diag(inverse)
        return self.y - (inverse @ self.y) * variances, variances

    @cached_property
    def _lower(self) -> Array:
        """(n, n) Cholesky factor of the covariance of the observations; cached, because every prediction needs it."""
        factor: Array = cholesky(self._kernel(self.x, self.x) + np.diag(self.noise), lower=True)
        return factor

    @cached_property
    def _weights(self) -> Array:
        """(n,) product of the inverse covariance and the observations."""
        weights: Array = cho_solve((self._lower, True), self.y)
        return weights

    def _kernel(self, first: Array, second: Array) -> Array:
        scales = self.length_scales[self.groups]
        covariance: Array = self.signal * _matern(cdist(first / scales, second / scales))[0]
        return covariance


def fit(x: Array, y: Array, variances: Array, groups: npt.NDArray[np.int64]) -> Process:
    """Return the process of (n, F) features and (n,) standardised losses with the most probable hyperparameters.

    Of many observations, the hyperparameters are fitted to a part whose losses are evenly spread over all ranks. The
    priors are log-normal. The length scales grow with the root of the number of parameters D, so that the process of
    many parameters is not too rugged to learn from few trials (Hvarfner, Hellsten, Nardi: Vanilla Bayesian Optimization
    Performs Great in High Dimensions, arXiv 2402.02229): the most probable one is 0.2 sqrt(D), within a factor of 5.7.
    The variance of the function is that of the losses. The noise is 0.7 % of it, within a factor of e.

    Args:
        x: (n, F) features.
        y: (n,) standardised losses.
        variances: (n,) known variances of the losses beyond the noise.
        groups: (F,) index of the parameter that every feature belongs to.
    """
    places = np.argsort(y, kind="stable")[_evenly_spaced(len(y))]
    length_scales, signal, noise = _most_probable(x[places], y[places], variances[places], groups)
    return Process(x, y, noise + variances, groups, length_scales, signal, noise)


def _evenly_spaced(num: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, num - 1, min(num, _MAX_FITTED)).round().astype(np.int64)


def _most_probable(x: Array, y: Array, variances: Array, groups: npt.NDArray[np.int64]) -> tuple[Array, float, float]:
    """Return the length scales, the variance of the function and the noise with the largest posterior density."""
    num_parameters = int(groups.max()) + 1
    squared = np.stack([((x[:, None] - x[None])[..., groups == p] ** 2).sum(axis=-1) for p in range(num_parameters)])
    centre = np.concatenate([np.full(num_parameters, math.log(0.2 * math.sqrt(num_parameters))), [0.0, -5.0]])
    width = np.concatenate([np.full(num_parameters, math.sqrt(3.0)), [0.05, 1.0]])

    def loss(parameters: Array) -> tuple[float, Array]:
        """Return the negative logarithm of the posterior density, and its gradient."""
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

    bounds = [(c - 6, c + 6) for c in centre]
    start = np.append(centre[:-1], math.log(0.5))  # from much noise, so that noise is not explained by short scales
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50}).x
    signal, noise = (float(value) for value in np.exp(found[num_parameters:]))
    return np.exp(found[:num_parameters]), signal, noise


def _matern(distance: Array) -> tuple[Array, Array]:
    """Return the correlation at a distance, and its derivative by the log length scale per squared distance."""
    root = math.sqrt(5.0) * distance
    decay = np.exp(-root)
    return (1.0 + root + root**2 / 3.0) * decay, 5.0 / 3.0 * (1.0 + root) * decay


class Space:
    """Conversions between searched values, points of the unit cube (D,) and features (F,).

    Distances are taken between features. A number is one feature. A choice among k values is k features, with a
    distance of 1 between any two choices. A parameter that is not active has the features of the middle.
    """

    def __init__(self, searched: SearchedSpace) -> None:
        self._searched = searched
        widths = [
            len(p.distribution.choices) if isinstance(p.distribution, CategoricalDistribution) else 1
            for p in searched.parameters
        ]
        self.groups = np.repeat(np.arange(len(widths)), widths)

    def values_at(self, point: Array) -> dict[str, Any]:
        """Return the values at a point (D,); inactive parameters are left out."""
        parameters = zip(self._searched.parameters, point, strict=True)
        return active_values(self._searched, {p.path: from_unit(p.distribution, float(u)) for p, u in parameters})

    def features_at(self, points: Array) -> Array:
        """Return the features (N, F) of points (N, D); integer parameters are not rounded."""
        columns = [
            _feature_columns(p.distribution, u) for p, u in zip(self._searched.parameters, points.T, strict=True)
        ]
        features = np.concatenate(columns, axis=1)
        if any(p.when for p in self._searched.parameters):
            for row, point in zip(features, points, strict=True):
                values = self.values_at(point)
                inactive = [place for place, p in enumerate(self._searched.parameters) if p.path not in values]
                row[np.isin(self.groups, inactive)] = 0.5
        return features

    def features_of(self, values: dict[str, Any]) -> list[float]:
        """Return the F features of values by path."""
        return [f for p in self._searched.parameters for f in _features(p.distribution, values, p.path)]

    def point_of(self, values: dict[str, Any]) -> list[float]:
        """Return the D coordinates of values by path."""
        return [_coordinate(p.distribution, values, p.path) for p in self._searched.parameters]


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
