"""The probability that an untried point is infeasible, from a Gaussian process on the trials that have ended."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit

from raysearch.algorithms.unit_cube import to_unit
from raysearch.history.events import Status
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec

Array = npt.NDArray[np.float64]

_AFFORDED, _CREDIT = 0.1, 3.0
"""Share of infeasible trials that a search accepts, and number of further ones; it needs some to find the edge."""
_RISK, _LEAST_RISK, _LARGEST_RISK = 0.1, 0.05, 0.5
"""Probability of being infeasible that a trial may have, for every further failure that is accepted, and its limits."""
_MEAN, _OFFSET, _SLOPE, _LOCAL = -1.5, 1.5, 15.0, 2.0
"""Prior of the log odds: their mean, and standard deviations of the offset, of the slope per side of the cube, and of
the local deviation from the plane.
"""
_LENGTH_SCALE = 0.4
"""Length scale of the local deviation, in sides of the unit cube times the root of the number of dimensions."""
_CHOICE = 0.3
"""Distance between two choices, so that what fits with one choice is likely to fit with another."""
_MAX_MODELLED = 150
"""Largest number of successes, and of failures, that are modelled: the latest ones."""
_MAX_STEPS = 30
"""Largest number of Newton steps."""


class Feasibility:
    """An estimate of whether an untried point is infeasible.

    Memory usually grows with a few parameters, so the log odds of being infeasible are modelled as a plane with a steep
    slope plus a local deviation: a Gaussian process with a linear and a Matérn kernel, fitted by Laplace's method
    (Rasmussen and Williams: Gaussian Processes for Machine Learning, 2006, algorithms 3.1 and 3.2). Points lie in the
    unit cube of the active parameters, with logarithms on log scales and one coordinate for every choice. Only ended
    trials with the same active parameters count, and failed ones do not.
    """

    def __init__(self, spec: SearchSpec, history: History) -> None:
        self._ended = history.index(_EndedPoints, spec)
        accepted = _CREDIT + _AFFORDED * (self._ended.num_ended + 1)
        risk = _RISK * (accepted - self._ended.num_infeasible)
        self.accepted_risk = min(max(risk, _LEAST_RISK), _LARGEST_RISK)
        """Probability of being infeasible above which values are suspect."""
        self._models: dict[frozenset[str], _Model | None] = {}

    def doubt(self, values: Mapping[str, Any]) -> float:
        """Return how far the probability of being infeasible exceeds the accepted risk; values are suspect above 0."""
        active = frozenset(values)
        if active not in self._models:
            successes, failures = self._ended.neighbours(active)
            self._models[active] = _fit(successes, failures) if len(failures) else None
        model = self._models[active]
        return -math.inf if model is None else model.probability(self._ended.point(values)) - self.accepted_risk


class _Model(NamedTuple):
    """The process after Laplace's method."""

    points: Array
    """(N, D) points."""
    residuals: Array
    """(N,) outcomes minus their probabilities."""
    roots: Array
    """(N,) square roots of the curvatures W of the negative log likelihood."""
    lower: Array
    """(N, N) Cholesky factor of 1 + W^(1/2) K W^(1/2)."""

    def probability(self, point: Array) -> float:
        """Return the probability that a point (D,) is infeasible, averaged over the process as MacKay approximates."""
        covariance = _kernel(point[None], self.points)[0]
        explained = solve_triangular(self.lower, self.roots * covariance, lower=True)
        variance = float(_kernel(point[None], point[None])[0, 0] - explained @ explained)
        mean = _MEAN + float(covariance @ self.residuals)
        return float(expit(mean / math.sqrt(1.0 + math.pi * max(variance, 0.0) / 8.0)))


def _fit(successes: Array, failures: Array) -> _Model:
    """Return the process given the points (N, D) of successes and of failures; points at infinity do not count."""
    successes = successes[np.isfinite(successes).all(axis=1)][-_MAX_MODELLED:]
    failures = failures[-_MAX_MODELLED:]
    points = np.concatenate([successes.reshape(-1, failures.shape[1]), failures])
    outcomes = np.repeat([0.0, 1.0], [len(successes), len(failures)])
    prior = _kernel(points, points)
    odds = np.full(len(points), _MEAN)
    for _ in range(_MAX_STEPS):
        chances = expit(odds)
        roots = np.sqrt(chances * (1.0 - chances) + 1e-9)
        lower = cholesky(np.eye(len(points)) + roots[:, None] * prior * roots, lower=True)
        wanted = roots**2 * (odds - _MEAN) + outcomes - chances
        weights = wanted - roots * cho_solve((lower, True), roots * (prior @ wanted))
        step = prior @ weights + _MEAN - odds
        odds = odds + np.clip(step, -5.0, 5.0)
        if np.abs(step).max() < 1e-3:
            break
    chances = expit(odds)
    return _Model(points, outcomes - chances, roots, lower)


def _kernel(first: Array, second: Array) -> Array:
    """Return the prior covariances (N, M) of the log odds at points (N, D) and (M, D)."""
    squared = ((first[:, None] - second[None]) ** 2).sum(axis=-1)
    distance = np.sqrt(5.0 * squared / first.shape[1]) / _LENGTH_SCALE
    local = (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
    covariance: Array = _OFFSET**2 + _SLOPE**2 * (first - 0.5) @ (second - 0.5).T + _LOCAL**2 * local
    return covariance


class _EndedPoints:
    """An index of a history: the points of its ended trials, by their active parameters."""

    def __init__(self, history: History, spec: SearchSpec) -> None:
        self._distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
        self._status: dict[int, Status] = {}
        """Status of every trial that counts as ended."""
        self._num_infeasible: Counter[frozenset[str]] = Counter()
        self._not_placed: dict[frozenset[str], dict[int, TrialHistory]] = {}
        """Trials that have changed since the points with their active parameters were last asked for."""
        self._points: dict[frozenset[str], tuple[_Points, _Points]] = {}

    @property
    def num_ended(self) -> int:
        """Number of ended trials, without failed ones."""
        return len(self._status)

    @property
    def num_infeasible(self) -> int:
        """Number of infeasible trials."""
        return self._num_infeasible.total()

    def take(self, trial: TrialHistory) -> None:
        """Take in the present state of a trial."""
        status = trial.effective_status
        counts = status in ("completed", "stopped", "infeasible")
        if self._status.get(trial.number) == (status if counts else None):
            return
        active = frozenset(trial.params)
        if counts:
            self._status[trial.number] = status
        else:
            del self._status[trial.number]
        self._num_infeasible[active] += status == "infeasible"
        self._not_placed.setdefault(active, {})[trial.number] = trial

    def neighbours(self, active: frozenset[str]) -> tuple[Array, Array]:
        """Return the points (N, D) of the successes and of the failures with these active parameters.

        Without a failure, both are empty. Points of trials that no longer count lie at infinity.
        """
        if not self._num_infeasible[active]:
            return np.empty((0, 0)), np.empty((0, 0))
        successes, failures = self._points.setdefault(active, (_Points(), _Points()))
        for trial in self._not_placed.pop(active, {}).values():
            status, point = self._status.get(trial.number), self.point(trial.params)
            if status == "infeasible":
                failures.put(trial.number, point)
            successes.put(trial.number, point if status in ("completed", "stopped") else np.full_like(point, np.inf))
        return successes.array, failures.array

    def point(self, values: Mapping[str, Any]) -> Array:
        """Return the point (D,) of values."""
        return np.concatenate([_coordinates(self._distributions[path], values[path]) for path in sorted(values)])


class _Points:
    """Points (N, D) by trial, in an array that grows by doubling."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._array = np.empty((0, 0))

    @property
    def array(self) -> Array:
        return self._array[: len(self._rows)]

    def put(self, number: int, point: Array) -> None:
        row = self._rows.setdefault(number, len(self._rows))
        if row == len(self._array):
            grown = np.empty((max(8, 2 * row), len(point)))
            grown[:row] = self._array[:row] if row else 0.0
            self._array = grown
        self._array[row] = point


def _coordinates(distribution: BaseDistribution, value: Any) -> list[float]:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return [to_unit(distribution, value)]
    assert isinstance(distribution, CategoricalDistribution)
    return [_CHOICE * math.sqrt(0.5) * (value == choice) for choice in distribution.choices]
