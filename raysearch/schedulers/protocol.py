"""The interface of all schedulers: a scheduler receives each report and decides what the trial does next."""

import enum
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol


class Decision(enum.Enum):
    """What a trial does after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"
    """The trial releases its worker and may be promoted later."""


class Observation(NamedTuple):
    """One report of a trial in the form that schedulers receive."""

    number: int
    """Number of the trial."""
    iteration: int
    losses: Sequence[float]
    """Values of all objectives as losses (smaller is better); rules for one objective use the first."""
    draws: Sequence[float] = ()
    """Bootstrap draws of the first objective (scores on resampled examples), if the trainable reports them."""

    @property
    def loss(self) -> float:
        """Loss of the first objective."""
        return self.losses[0]


class Scheduler(Protocol):
    """An early-stopping rule. It receives all reports in the order of the journal and keeps no other state."""

    def observe(self, seen: Observation) -> Decision:
        """Record a report and decide on its trial; a repeated report changes nothing."""
        ...

    def promotable(self, paused: Collection[int], *, at_least: int = 0) -> int | None:
        """Return the paused trial that resumes next; None if there is none. A rule that never pauses returns None.

        Args:
            paused: Numbers of all paused trials.
            at_least: Number of trials that a rung promotes even if that is more than the fraction it lets pass. At the
                end of a search it is 1, so that the best trial of a small search also gets the full budget.
        """
        return None
