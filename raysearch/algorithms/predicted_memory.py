"""Prediction of which configs do not fit into memory, from the peak memory of earlier trials.

A config may estimate its memory in a unit of its own (`HasMemoryEstimate`). The search learns how many bytes the unit
is. Configs that are predicted not to fit are not started.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scipy.stats import theilslopes

from raysearch.history.history import History, TrialHistory
from raysearch.history.ranking import Ordered
from raysearch.space.spec import SearchSpec

_MIN_TRIALS = 3
"""Least number of measured peaks that give a line with a spread."""

_MAX_TRIALS = 200
"""Number of latest trials that are used, because every pair of trials has a slope."""


@dataclass(frozen=True)
class _Line:
    """Peak memory in bytes as a linear function of the estimates of one name."""

    intercept: float
    slope: float
    spread: float

    def at(self, estimate: float) -> float:
        """Return the peak memory at an estimate."""
        return self.intercept + self.slope * estimate

    def reaches(self, peak: float) -> float:
        """Return the estimate at which the line reaches a peak; plus or minus infinity if it never does."""
        if self.slope > 0.0:
            return (peak - self.intercept) / self.slope
        return math.inf if self.intercept <= peak else -math.inf


class PredictedMemory:
    """A prediction of whether untried configs fit into memory.

    Estimates are compared only if they have the same name. There are two rules:

    - If a trial ran out of memory and no trial with as large an estimate fitted, no larger estimate fits.
    - The peaks of the trials that fitted are described by a line over their estimates, with the median slope of all
      pairs (Theil 1950, Sen 1968). A trial that ran out of memory needs at least a known amount, and counts if the line
      predicts less. A config does not fit if the line minus twice the median distance of the trials from it exceeds the
      limit. If the line plus that margin is below the limit, a trial that ran out of memory says nothing about others.

    The line needs three trials that fitted, with at least two different estimates.

    The limit is `resources.memory_gb`. Without it, the limit is the least memory that any trial could use, or the
    largest peak that fitted if that is more.
    """

    def __init__(self, spec: SearchSpec, history: History) -> None:
        self._spec = spec
        measured = history.index(_Measured)
        self.limit_bytes = _limit(spec, measured)
        self._too_large = {
            name: _too_large(measured.fitted(name), measured.short(name), self.limit_bytes) for name in measured.names
        }

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Return True if a trial with these searched values is not predicted to run out of memory."""
        estimate = self._spec.memory_estimate(values) if self._too_large else None
        return estimate is None or estimate[1] < self._too_large.get(estimate[0], math.inf)


class _Measured:
    """An index of a history: what is known of the memory of its own trials."""

    def __init__(self, history: History) -> None:
        self._fitted: dict[str, Ordered[int]] = {}
        self._short: dict[str, Ordered[int]] = {}
        self._by_limit: Ordered[int] = Ordered()
        self._by_peak: Ordered[int] = Ordered()

    @property
    def names(self) -> list[str]:
        """Names of the estimates of all trials whose need is known."""
        return [name for name in {**self._fitted, **self._short} if self.fitted(name) or self.short(name)]

    @property
    def least_limit_bytes(self) -> int | None:
        """Least memory that any trial could use."""
        return next((trial.memory_limit_bytes for trial in self._by_limit.at(range(min(1, len(self._by_limit))))), None)

    @property
    def largest_peak_bytes(self) -> int:
        """Largest peak of a trial that fitted and has an estimate."""
        return max((trial.peak_memory_bytes or 0 for trial in self._by_peak.latest(1)), default=0)

    def fitted(self, name: str) -> list[TrialHistory]:
        """Return the latest trials with an estimate of this name that fitted."""
        return self._fitted[name].latest(_MAX_TRIALS) if name in self._fitted else []

    def short(self, name: str) -> list[TrialHistory]:
        """Return the latest trials with an estimate of this name that ran out of memory."""
        return self._short[name].latest(_MAX_TRIALS) if name in self._short else []

    def take(self, trial: TrialHistory) -> None:
        """Take in the present state of a trial of the search."""
        if trial.number < 0:
            return
        self._by_limit.put(trial, trial.memory_limit_bytes)
        if trial.memory_estimate is None:
            return
        name, _ = trial.memory_estimate
        fits = trial.effective_status in ("completed", "stopped") and bool(trial.peak_memory_bytes)
        is_short = trial.needed_memory_bytes is not None
        self._by_peak.put(trial, trial.peak_memory_bytes if fits else None)
        self._fitted.setdefault(name, Ordered()).put(trial, trial.number if fits else None)
        self._short.setdefault(name, Ordered()).put(trial, trial.number if is_short else None)


def _limit(spec: SearchSpec, measured: _Measured) -> int | None:
    if spec.resources.memory_bytes is not None:
        return spec.resources.memory_bytes
    least = measured.least_limit_bytes
    return None if least is None else max(least, measured.largest_peak_bytes)


def _estimate(trial: TrialHistory) -> tuple[str, float]:
    assert trial.memory_estimate is not None
    return trial.memory_estimate


def _too_large(fitted: Sequence[TrialHistory], short: Sequence[TrialHistory], limit_bytes: int | None) -> float:
    """Return the smallest estimate that does not fit."""
    peaks = [(_estimate(trial)[1], float(trial.peak_memory_bytes or 0)) for trial in fitted]
    needed = [(_estimate(trial)[1], float(trial.needed_memory_bytes or 0)) for trial in short]
    line = None if limit_bytes is None else _line(peaks, needed)
    fits = max((estimate for estimate, _ in peaks), default=-math.inf)
    too_large = math.inf
    if line is not None and limit_bytes is not None:
        fits = max(fits, line.reaches(limit_bytes - line.spread))
        too_large = line.reaches(limit_bytes + line.spread)
    return min([too_large, *(estimate for estimate, _ in needed if estimate > fits)])


def _line(peaks: Sequence[tuple[float, float]], needed: Sequence[tuple[float, float]]) -> _Line | None:
    """Return the line through the peaks, and through needed amounts that exceed it; None with too few peaks."""
    if len(peaks) < _MIN_TRIALS or len({estimate for estimate, _ in peaks}) < 2:
        return None
    line = _theil_sen(peaks)
    above = [(estimate, least) for estimate, least in needed if least > line.at(estimate)]
    return _theil_sen([*peaks, *above]) if above else line


def _theil_sen(points: Sequence[tuple[float, float]]) -> _Line:
    estimates, peaks = zip(*points, strict=True)
    slope = max(0.0, float(theilslopes(peaks, estimates).slope))
    intercept = median(peak - slope * estimate for estimate, peak in points)
    distances = [abs(peak - intercept - slope * estimate) for estimate, peak in points]
    return _Line(intercept, slope, spread=2.0 * median(distances))
