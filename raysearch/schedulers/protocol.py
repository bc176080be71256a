"""The interface of every scheduler: it is told each report and decides what the trial does next."""

import enum
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol


class Decision(enum.Enum):
    """What a trial does after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"
    """The trial gives its worker back, and may be promoted later."""


class Observation(NamedTuple):
    """One report of a trial, as a scheduler sees it."""

    number: int
    """Number of the trial."""
    iteration: int
    losses: Sequence[float]
    """Values of all objectives as losses: small is good. Rules for one objective look at the first."""
    draws: Sequence[float] = ()
    """Draws of the first objective over other samples, for trainables that report them."""

    @property
    def loss(self) -> float:
        """The loss by the first objective."""
        return self.losses[0]


class Scheduler(Protocol):
    """An early-stopping rule. It is told all reports in the order of the journal, and keeps no other state."""

    def observe(self, seen: Observation) -> Decision:
        """Take in a report and decide on its trial; a repeated report changes nothing."""
        ...

    def promotable(self, paused: Collection[int], *, at_least: int = 0) -> int | None:
        """Return the paused trial that goes on next; None if there is none, as in every rule that pauses no trial.

        Args:
            paused: Numbers of all paused trials.
            at_least: How many trials a rung promotes even if they are more than its share. It is 1 at the end of a
                search, where the best trial of a small one runs to the full budget too.
        """
        return None
