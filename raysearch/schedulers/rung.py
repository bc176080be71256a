"""A rung: the trials that have reached an iteration, and which of them pass it."""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Container, Sequence
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
        self._ranked: list[tuple[float, int]] = []
        """Loss and number of every trial, the best first."""
        self._held: list[tuple[float, int]] = []
        """Those of the trials that may be promoted from here, the best first."""

    def __contains__(self, number: int) -> bool:
        return number in self.losses

    def enter(self, number: int, loss: float, draws: Sequence[float] = ()) -> None:
        """Enter a trial; each trial is entered once."""
        assert number not in self.losses
        self.losses[number] = loss
        insort(self._ranked, (loss, number))
        if self._slack == "auto":
            self._draws[number] = draws

    def lets_on(self, number: int) -> bool:
        """Return True if a trial passes among the trials so far; the best trial and ties with it always do."""
        return self._passes(number, self._cut(at_least=1))

    def share_ahead(self, number: int) -> float:
        """Return the share of the trials that are better than a trial, in (0, 1); it and ties with it count half."""
        loss = self.losses[number]
        first, last = bisect_left(self._ranked, (loss, -1)), bisect_right(self._ranked, (loss, math.inf))
        return (first + last) / (2 * len(self._ranked))

    @property
    def share_ahead_of_worst(self) -> float:
        """The largest share that `share_ahead` returns for any of the trials."""
        return self.share_ahead(self._ranked[-1][1])

    def hold(self, number: int) -> None:
        """Keep a trial that has entered for promotion from here."""
        insort(self._held, (self.losses[number], number))

    def release(self, number: int) -> None:
        """Forget a trial that was held, because it trains beyond this rung."""
        del self._held[bisect_left(self._held, (self.losses[number], number))]

    def promotable(self, paused: Container[int], at_least: int) -> int | None:
        """Return the best held trial that is paused and passes, if at least `at_least` trials of the rung pass."""
        cut = self._cut(at_least)
        if cut is None:
            return None
        for _, number in self._held:
            if number in paused:
                if self._passes(number, cut):
                    return number
                if self._slack != "auto":
                    return None  # all others are further behind the same cut
        return None

    def _cut(self, at_least: int) -> int | None:
        """Return the last trial of the best 1/eta; None if no trial belongs to them."""
        num_let_on = max(at_least, len(self._ranked) // self._reduction_factor)
        return self._ranked[num_let_on - 1][1] if 0 < num_let_on <= len(self._ranked) else None

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
