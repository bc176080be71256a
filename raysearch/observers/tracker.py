"""The interface of an experiment tracker, such as MLflow, and what is delivered to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from raysearch.history.history import TrialHistory


@dataclass(frozen=True)
class Point:
    """The numbers of one report."""

    iteration: int
    unix_time: float
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Arrived:
    """The part of a trial that has arrived at a tracker."""

    iteration: int = 0
    """Iteration of the last report that arrived; 0 before the first."""
    has_ended: bool = False


class Tracker(Protocol):
    """One tracker, used by a single thread. Any method may raise any exception, and is then called again."""

    name: ClassVar[str]
    """Name of the tracker in messages."""

    def connect(self) -> Mapping[int, Arrived]:
        """Connect to the tracker and return what it already has of each trial."""
        ...

    def deliver(self, trial: TrialHistory, points: Sequence[Point], *, is_over: bool) -> None:
        """Deliver the new part of a trial, which may be new itself; `is_over` means that the trial has ended."""
        ...

    def finish(self, best_config: Path | None, best: float | None, *, is_over: bool) -> None:
        """Finish the run; `is_over` means that the search has ended too, otherwise it may be resumed."""
        ...
