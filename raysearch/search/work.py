"""The interface between what is to be trained and where: an executor runs the assignments of a piece of work.

The work decides, the executor trains. An executor asks for assignments while it has room, hands over every event of a
trial, and obeys the decision. It knows neither the search nor its journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from raysearch.history.events import Ended, Halted, Report
from raysearch.schedulers import Decision


@dataclass(frozen=True)
class Assignment:
    """A trial for a worker: to start, or to continue where it stood."""

    number: int
    """Number of the trial."""
    title: str
    """Line for the worker's log."""
    config: Mapping[str, Any]
    """The nested config of the trial."""
    folder: Path
    """Folder of the trial's checkpoints."""
    shared_folder: Path | None
    """Folder of the iterations that it may share with other trials; None if it can share none."""
    reports: tuple[tuple[int, float, str], ...]
    """Iteration, value and checkpoint of every report; the trial goes on from the newest that is still there."""
    seed: int | None = None
    """Seed of the process, for trainables that do not seed themselves; None: the one that all trials have."""


class Work(Protocol):
    """What is to be trained: a search, or the trainings of a confirmation."""

    @property
    def finished(self) -> bool:
        """Return True once nothing is left to train and nothing is being trained."""
        ...

    def next(self) -> Assignment | None:
        """Return what a free worker trains next; None while there is nothing."""
        ...

    def take(self, number: int, event: Report | Ended | Halted) -> Decision:
        """Take in what happened to a trial, and return what its worker does next."""
        ...

    def lost(self, number: int, error: str, *, out_of_memory: bool = False) -> None:
        """Take in that the worker of a trial died under it.

        Args:
            number: Number of the trial.
            error: The reason in one line.
            out_of_memory: Whether the machine ran low on memory and the worker was ended for it.
        """
        ...

    def tick(self) -> None:
        """Do what is due between two events; called several times a second if the executor can."""
        ...


class Executor(Protocol):
    """A place where trials are trained: Ray, this process, or a simulation."""

    def run(self, work: Work) -> None:
        """Train until the work has nothing more to start and nothing runs; an exception of the work ends it at once."""
        ...
