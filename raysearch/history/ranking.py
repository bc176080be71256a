"""Trials in the order of a key, and the order of ended trials that algorithms learn from.

Both are kept up to date trial by trial, so that a suggestion does not sort all trials of a search.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Generic, TypeVar

from raysearch.history.history import History, TrialHistory

K = TypeVar("K")


class Ordered(Generic[K]):
    """Trials in the order of their keys, and of their numbers where keys are equal."""

    def __init__(self) -> None:
        """Create an empty order."""
        self._ranked: list[tuple[K, int]] = []
        self._known: dict[int, tuple[K, TrialHistory]] = {}

    def __len__(self) -> int:
        return len(self._ranked)

    def put(self, trial: TrialHistory, key: K | None) -> None:
        """Put a trial where its key belongs, wherever it was before; None takes it out."""
        before = self._known.get(trial.number)
        if before is not None:
            if before[0] == key:
                return
            del self._known[trial.number]
            del self._ranked[bisect_left(self._ranked, (before[0], trial.number))]
        if key is not None:
            self._known[trial.number] = key, trial
            insort(self._ranked, (key, trial.number))

    def at(self, places: Sequence[int]) -> list[TrialHistory]:
        """Return the trials at some places of the order."""
        return [self._known[self._ranked[place][1]][1] for place in places]

    def latest(self, count: int) -> list[TrialHistory]:
        """Return the last trials of the order, at most `count`."""
        return self.at(range(max(0, len(self) - count), len(self)))


class Ranking:
    """An index of a history: its running trials, and its ended trials, the best first.

    A paused trial counts as ended. Trials that cannot win come last, and failed trials are left out.
    """

    def __init__(self, history: History) -> None:
        """Create the index."""
        self._history = history
        self._running: dict[int, TrialHistory] = {}
        self.ended: Ordered[tuple[float, float]] = Ordered()
        """Ended trials in the order of their violations and losses."""

    @property
    def running(self) -> list[TrialHistory]:
        """Trials that have a worker."""
        return list(self._running.values())

    def take(self, trial: TrialHistory) -> None:
        """Take in the present state of a trial."""
        if trial.effective_status == "running":
            self._running[trial.number] = trial
            self.ended.put(trial, None)
            return
        self._running.pop(trial.number, None)
        standing = self._history.standing(trial) or (math.inf, math.inf)
        self.ended.put(trial, None if trial.status == "failed" else standing)
