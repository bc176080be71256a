"""Points to avoid because their nearest neighbours were infeasible; no model is fitted."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.algorithms.unit_cube import to_unit
from raysearch.history.events import Status
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec

_AFFORDED = 0.15
"""Share of infeasible trials that a search accepts; without any it would not find an optimum at the edge of memory."""

_REACH = 0.4
"""Largest distance up to which a failure counts if no trial succeeded there.

It is in sides of the unit cube times the root of the number of dimensions, and is about the distance of two random
points.
"""


class Feasibility:
    """An estimate of whether an untried point is infeasible, from the trials that have ended.

    A point is suspect if its nearest ended trial was infeasible. Distances are Euclidean in the unit cube of the active
    parameters. They use logarithms on log scales, and 0 or 1 between choices. Only ended trials with the same active
    parameters count, and failed ones do not. A success counts as at most `_REACH` away, so that one failed trial of a
    choice does not exclude the whole choice.
    """

    def __init__(self, spec: SearchSpec, history: History) -> None:
        self._ended = history.index(_EndedPoints, spec)
        self.cautious = self._ended.num_infeasible > _AFFORDED * self._ended.num_ended
        """True if more trials were infeasible than the search accepts; failures then count as half as far away."""

    def doubt(self, values: Mapping[str, Any]) -> float:
        """Return how much nearer a failure is than a success, in sides of the unit cube; values are suspect above 0."""
        successes, failures = self._ended.neighbours(frozenset(values))
        if not len(failures):
            return -math.inf
        point = self._ended.point(values)
        nearest_failure = float(np.linalg.norm(failures - point, axis=1).min())
        reach = _REACH * math.sqrt(len(values))
        nearest_success = float(np.linalg.norm(successes - point, axis=1).min(initial=reach))
        return (2.0 if self.cautious else 1.0) * nearest_success - nearest_failure


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

    def neighbours(self, active: frozenset[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
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

    def point(self, values: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """Return the point (D,) of values."""
        return np.concatenate([_coordinates(self._distributions[path], values[path]) for path in sorted(values)])


class _Points:
    """Points (N, D) by trial, in an array that grows by doubling."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._array = np.empty((0, 0))

    @property
    def array(self) -> npt.NDArray[np.float64]:
        return self._array[: len(self._rows)]

    def put(self, number: int, point: npt.NDArray[np.float64]) -> None:
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
    return [math.sqrt(0.5) * (value == choice) for choice in distribution.choices]
