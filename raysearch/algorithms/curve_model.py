"""What a config is expected to score: a Gaussian process that learns from trials before their end too.

A trial is known by what it is expected to reach at the full budget: a completed one by what it reached; any other by
its newest score plus what completed trials gained from that iteration on, as uncertain as these gains scatter. So a
trial that was stopped early says little, wherever early scores say little, and a running trial says what it has shown
so far.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.algorithms.unit_cube import active_values, from_unit, to_unit
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory

Array = npt.NDArray[np.float64]

_POOR = 0.75
"""Share of the trials that are better than a poor one."""


@dataclass(frozen=True)
class CurveModel:
    """The process that the trials of a search are taken for; its numbers are losses, small is good, standardised."""

    space: "Space"
    observed: tuple["Observation", ...]
    process: "Process"
    centre: float
    """Loss that is 0 to the process."""
    scale: float
    """Loss that is 1 to the process."""


def model_of(searched: SearchedSpace, trials: Sequence[TrialHistory], history: History) -> CurveModel | None:
    """The process of some trials of a search; None while a plane through them would fit everything."""
    observed = observations(trials, history)
    if len(observed) <= len(searched.parameters):
        return None
    space = Space(searched)
    x = np.array([space.features_of(observation.trial.params) for observation in observed])
    losses = np.array([observation.loss for observation in observed])
    centre, scale = float(losses.mean()), float(losses.std()) or 1.0
    variances = np.array([observation.variance for observation in observed]) / scale**2
    process = fit(x, (losses - centre) / scale, variances, space.groups)
    return CurveModel(space, tuple(observed), process, centre, scale)


@dataclass(frozen=True)
class Observation:
    """What a trial is expected to reach at the full budget."""

    trial: TrialHistory
    loss: float
    """Small is good."""
    variance: float
    """How uncertain that is, beyond the noise of a score at the full budget."""


def observations(trials: Sequence[TrialHistory], history: History) -> list[Observation]:
    """What every trial that has reported is expected to reach.

    Trials that break a constraint on what is reported are as bad as the worst. Infeasible ones are as bad as a poor one
    alone: `feasibility.py` keeps away from where they lie, and the best config is often right beside them.
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
    observed, infeasible, breaking = [], [], []
    for trial in trials:
        if trial.status == "infeasible":
            infeasible.append(trial)
        elif trial.broken(history.mode):
            breaking.append(trial)
        elif trial.number in finals:
            observed.append(Observation(trial, finals[trial.number], 0.0))
        elif trial.last is not None:
            gained = gains.get(trial.last.iteration, [])
            known = gained if len(gained) >= 3 else scores[trial.last.iteration]
            spread = float(np.var(known, ddof=1)) if len(known) >= 2 else 0.0
            loss = sign * trial.last.value + (fmean(gained) if gained else 0.0)
            observed.append(Observation(trial, loss, spread))
    losses = [observation.loss for observation in observed] or [0.0]
    poor, worst = float(np.quantile(losses, _POOR)), max(losses)
    unfit = [Observation(trial, poor, 0.0) for trial in infeasible]
    return observed + unfit + [Observation(trial, worst, 0.0) for trial in breaking]


def _final(trial: TrialHistory, history: History) -> Report | None:
    return trial.best(history.mode) if trial.status == "completed" else None


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
        expected = cross @ cho_solve((self._lower, True), self.y)
        explained = (solve_triangular(self._lower, cross.T, lower=True) ** 2).sum(axis=0)
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

    @cached_property
    def _lower(self) -> Array:
        """(n, n) Cholesky factor of the covariance of what was observed, for all questions about one process."""
        factor: Array = cholesky(self._kernel(self.x, self.x) + np.diag(self.noise), lower=True)
        return factor

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


class Space:
    """Searched values as points of the unit cube, (D,), and as the features, (F,), that distances are taken of.

    A number is one feature; a choice among k is k of them, at a distance of 1 from any other. What is not active lies
    in the middle.
    """

    def __init__(self, searched: SearchedSpace) -> None:
        self._searched = searched
        widths = [
            len(p.distribution.choices) if isinstance(p.distribution, CategoricalDistribution) else 1
            for p in searched.parameters
        ]
        self.groups = np.repeat(np.arange(len(widths)), widths)

    def values_at(self, point: Array) -> dict[str, Any]:
        """The values at a point, (D,), those that are not active left out."""
        parameters = zip(self._searched.parameters, point, strict=True)
        return active_values(self._searched, {p.path: from_unit(p.distribution, float(u)) for p, u in parameters})

    def features_at(self, points: Array) -> Array:
        """(N, F) of (N, D) points; a whole number is not rounded here."""
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
        """The features, F of them, of values by path."""
        return [f for p in self._searched.parameters for f in _features(p.distribution, values, p.path)]

    def point_of(self, values: dict[str, Any]) -> list[float]:
        """The point, D coordinates, at which values by path lie."""
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
