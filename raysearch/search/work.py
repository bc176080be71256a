"""The interface between work and executors: what is trained, and where.

The work decides, and the executor trains. An executor requests assignments while it has free workers, passes on every
event of a trial, and follows the decision. It knows neither the search nor its journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from raysearch.history.events import Ended, Halted, Report
from raysearch.schedulers import Decision


@dataclass(frozen=True)
class Assignment:
    """A trial for a worker, to start or to continue."""

    number: int
    """Number of the trial."""
    title: str
    """Line for the worker's log."""
    config: Mapping[str, Any]
    """Nested config of the trial."""
    folder: Path
    """Folder of the trial's checkpoints."""
    shared_folder: Path | None
    """Folder of iterations that the trial may share with others; None if it cannot share any."""
    reports: tuple[tuple[int, float, str], ...]
    """Iteration, value and checkpoint of every report; the trial continues from the newest existing checkpoint."""
    seed: int | None = None
    """Seed of the process, for trainables that do not seed themselves; None: the one that all trials have."""


class Work(Protocol):
    """A source of assignments: a search, or the trainings of a confirmation."""

    @property
    def finished(self) -> bool:
        """True if nothing is left to train and nothing is being trained."""
        ...

    def next(self) -> Assignment | None:
        """Return the next assignment of a free worker; None if there is none at the moment."""
        ...

    def take(self, number: int, event: Report | Ended | Halted) -> Decision:
        """Record an event of a trial, and return what its worker does next."""
        ...

    def lost(self, number: int, error: str, *, out_of_memory: bool = False) -> None:
        """Record that the worker of a trial died.

        Args:
            number: Number of the trial.
            error: Reason in one line.
            out_of_memory: True if the worker was ended because the machine ran out of memory.
        """
        ...

    def tick(self) -> None:
        """Do what is due between two events; called several times a second if the executor can."""
        ...


class Executor(Protocol):
    """A place that trains assignments: Ray, this process, or a simulation."""

    def run(self, work: Work) -> None:
        """Train until the work has nothing to start and nothing runs; an exception of the work ends this at once."""
        ...
