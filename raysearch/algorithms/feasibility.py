"""Which points to keep away from, by how their nearest neighbours ended: nothing is fitted, nothing assumed."""

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
"""Share of infeasible trials that a search affords: an optimum at the edge of what fits is not found without any."""

_REACH = 0.4
"""How far a failure speaks where nothing succeeded, in sides of the cube times the root of its dimensions: about the
distance of two points at random."""


class Feasibility:
    """What the endings of a search say of a point that was not tried.

    A point is suspect where its nearest ended trial was infeasible. Distances are Euclidean in the unit cube of the
    active parameters, logarithms on log scales, 0 or 1 between choices. Trials with other active parameters say
    nothing, nor do running and failed ones. A success counts as no farther away than `_REACH`: one failure among the
    trials of a choice does not speak for all of that choice.
    """

    def __init__(self, spec: SearchSpec, history: History) -> None:
        self._distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
        self._ended = [
            trial for trial in history.known_trials if trial.effective_status in ("completed", "stopped", "infeasible")
        ]
        num_infeasible = sum(trial.status == "infeasible" for trial in self._ended)
        self.cautious = num_infeasible > _AFFORDED * len(self._ended)
        """More was infeasible than the search affords: then a failure counts as twice as near as it is."""
        self._points: dict[frozenset[str], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}

    def doubt(self, values: Mapping[str, Any]) -> float:
        """How much nearer a failure is than a success, in sides of the cube; suspect above 0."""
        successes, failures = self._neighbours(frozenset(values))
        if not len(failures):
            return -math.inf
        point = self._point(values)
        nearest_failure = float(np.linalg.norm(failures - point, axis=1).min())
        reach = _REACH * math.sqrt(len(values))
        nearest_success = float(np.linalg.norm(successes - point, axis=1).min(initial=reach))
        return (2.0 if self.cautious else 1.0) * nearest_success - nearest_failure

    def _neighbours(self, active: frozenset[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Points of the successes and of the failures with these active parameters, (N, D) each."""
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
