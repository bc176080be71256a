"""Points to avoid because their nearest neighbours were infeasible; no model is fitted."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.algorithms.unit_cube import to_unit
from raysearch.history.history import History
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
        self._distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
        self._ended = [
            trial for trial in history.known_trials if trial.effective_status in ("completed", "stopped", "infeasible")
        ]
        num_infeasible = sum(trial.status == "infeasible" for trial in self._ended)
        self.cautious = num_infeasible > _AFFORDED * len(self._ended)
        """True if more trials were infeasible than the search accepts; failures then count as half as far away."""
        self._points: dict[frozenset[str], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}

    def doubt(self, values: Mapping[str, Any]) -> float:
        """Return how much nearer a failure is than a success, in sides of the unit cube; values are suspect above 0."""
        successes, failures = self._neighbours(frozenset(values))
        if not len(failures):
            return -math.inf
        point = self._point(values)
        nearest_failure = float(np.linalg.norm(failures - point, axis=1).min())
        reach = _REACH * math.sqrt(len(values))
        nearest_success = float(np.linalg.norm(successes - point, axis=1).min(initial=reach))
        return (2.0 if self.cautious else 1.0) * nearest_success - nearest_failure

    def _neighbours(self, active: frozenset[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the points (N, D) of the successes and of the failures with these active parameters."""
        if active not in self._points:
            trials = [trial for trial in self._ended if trial.params.keys() == active]
            failed = np.array([trial.status == "infeasible" for trial in trials], dtype=bool)
            if failed.any():
                points = np.stack([self._point(trial.params) for trial in trials])
                self._points[active] = points[~failed], points[failed]
            else:
                self._points[active] = np.empty((0, 0)), np.empty((0, 0))
        return self._points[active]

    def _point(self, values: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        return np.concatenate([_coordinates(self._distributions[path], values[path]) for path in sorted(values)])


def _coordinates(distribution: BaseDistribution, value: Any) -> list[float]:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return [to_unit(distribution, value)]
    assert isinstance(distribution, CategoricalDistribution)
    return [math.sqrt(0.5) * (value == choice) for choice in distribution.choices]
