"""A rung: the trials that have reached an iteration, and which of them pass it."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

Slack: TypeAlias = float | Literal["auto"]
"""Distance to the cut of a rung within which a trial also passes: a difference of scores, or one standard error."""


class Rung:
    """The losses of trials at one iteration; the best 1/eta of them, and trials within the slack, pass.

    The cut is the loss of the last trial of the best 1/eta. With `auto`, the slack of a trial is the standard error of
    the difference between its loss and the cut, if both trials reported bootstrap draws of their scores. The standard
    error is the standard deviation of the differences between corresponding draws, because all trials are scored on the
    same samples. Without draws, a trial has no slack.
    """

    def __init__(self, reduction_factor: int, slack: Slack = 0.0) -> None:
        """Create an empty rung; `reduction_factor` is eta."""
        assert reduction_factor >= 2
        self._reduction_factor = reduction_factor
        self._slack = slack
        self.losses: dict[int, float] = {}
        """Losses by trial."""
        self._draws: dict[int, Sequence[float]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self.losses

    def enter(self, number: int, loss: float, draws: Sequence[float] = ()) -> None:
        """Enter a trial; each trial is entered once."""
        assert number not in self.losses
        self.losses[number] = loss
        if self._slack == "auto":
            self._draws[number] = draws

    def lets_on(self, number: int) -> bool:
        """Return True if a trial passes among the trials so far; the best trial and ties with it always do."""
        return self._passes(number, self._cut(at_least=1))

    def let_on(self, numbers: Sequence[int], at_least: int) -> list[int]:
        """Return those of the given trials that pass, best first, if at least `at_least` trials of the rung pass."""
        cut = self._cut(at_least) if numbers else None
        return sorted((n for n in numbers if self._passes(n, cut)), key=lambda n: (self.losses[n], n))

    def _cut(self, at_least: int) -> int | None:
        """Return the last trial of the best 1/eta; None if no trial belongs to them."""
        num_let_on = max(at_least, len(self.losses) // self._reduction_factor)
        ranked = sorted(self.losses, key=lambda number: (self.losses[number], number))
        return ranked[num_let_on - 1] if num_let_on > 0 else None

    def _passes(self, number: int, cut: int | None) -> bool:
        if cut is None:
            return False
        behind = self.losses[number] - self.losses[cut]
        return behind <= 0.0 or behind <= self._slack_between(number, cut)

    def _slack_between(self, first: int, second: int) -> float:
        if self._slack != "auto":
            return self._slack
        draws = self._draws[first], self._draws[second]
        if len(draws[0]) != len(draws[1]):
            return 0.0
        differences = np.subtract(*draws)
        known = differences[np.isfinite(differences)]  # a draw without any counted pixel is NaN
        return float(np.std(known, ddof=1)) if len(known) >= 2 else 0.0
