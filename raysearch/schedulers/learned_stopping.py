"""`grace_iters: auto`: early stopping that learns from completed trials how much an early score says."""

import math
from collections.abc import Sequence

from scipy.special import ndtri, stdtr

from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung import Rung, Slack
from raysearch.schedulers.rung_audit import spearman

CONFIDENCE = 0.4
"""Confidence level of the interval whose lower end counts as the correlation."""

_MAX_COMPLETED = 100
"""Largest number of completed trials, the latest ones, from which a correlation is computed."""
_GROWTH = 1.2
"""Factor by which the number of completed trials must have grown before a correlation is computed anew."""


class LearnedStopping(Scheduler):
    """A rule that stops a trial if, by the completed trials, a new trial is a better use of its remaining iterations.

    At every report, a trial is compared with all trials so far at the same iteration. With eta as the reduction factor,
    it stops if both hold:

    1. It is not among the best 1/eta of them.
    2. Its chance to become the best trial, per remaining iteration, is less than 1/eta of that of a new trial.

    A new trial becomes the best of N + 1 with probability 1 / (N + 1). The chance of the trial follows from its rank at
    this iteration and from the rank correlation of the scores there with the final ones, for which the lower end of its
    interval among the completed trials is taken. Ranks are related as in a normal distribution with that correlation
    (a Gaussian copula), with the heavy tails of Student's t for few completed trials. Without a correlation, both
    chances are equal, so no trial stops.
    """

    def __init__(
        self, num_pilots: int, *, grace_iters: int, max_iters: int, reduction_factor: int, slack: Slack = 0.0
    ) -> None:
        """Create the rule.

        Args:
            num_pilots: Number of trials that must have completed before any trial is stopped.
            grace_iters: Earliest iteration at which a trial may be stopped.
            max_iters: Full budget, in iterations.
            reduction_factor: eta.
            slack: Distance to the last of the best 1/eta within which a trial also counts as one of them.
        """
        self._num_pilots, self._grace_iters, self._max_iters = num_pilots, grace_iters, max_iters
        self._reduction_factor, self._slack = reduction_factor, slack
        self._rungs: dict[int, Rung] = {}
        """The trials at every iteration at which a trial has reported."""
        self._completed: list[int] = []
        self._numbers: set[int] = set()
        self._correlations: dict[int, tuple[int, float]] = {}
        """Number of completed trials from which a correlation was computed, and the correlation, by iteration."""

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at this iteration, and stop it if it has fallen behind."""
        number, iteration = seen.number, min(seen.iteration, self._max_iters)
        rung = self._rungs.setdefault(iteration, Rung(self._reduction_factor, self._slack))
        if number in rung:
            return Decision.CONTINUE
        rung.enter(number, seen.loss, seen.draws)
        self._numbers.add(number)
        if iteration == self._max_iters:
            self._completed.append(number)
            return Decision.CONTINUE
        if iteration < self._grace_iters or rung.lets_on(number):
            return Decision.CONTINUE
        return Decision.STOP if self._is_behind(rung.share_ahead(number), iteration) else Decision.CONTINUE

    def stops_from(self) -> int | None:
        """Return the first iteration at which the worst trial there would be stopped; None if there is none."""
        iterations = sorted(i for i in self._rungs if self._grace_iters <= i < self._max_iters)
        return next((i for i in iterations if self._is_behind(self._rungs[i].share_ahead_of_worst, i)), None)

    def _is_behind(self, share_ahead: float, iteration: int) -> bool:
        """Return True if the chance per remaining iteration is less than 1/eta of that of a new trial."""
        if len(self._completed) < self._num_pilots:
            return False
        correlation = self._correlation(iteration)
        of_new = 1.0 / (len(self._numbers) + 1)
        remaining = 1.0 - iteration / self._max_iters
        chance = chance_of_best(share_ahead, correlation, of_new, degrees_of_freedom=len(self._completed) - 2)
        return chance / remaining < of_new / self._reduction_factor

    def _correlation(self, iteration: int) -> float:
        """Return the correlation of the scores at an iteration with the final ones that can be relied on."""
        num_completed = len(self._completed)
        computed_from, correlation = self._correlations.get(iteration, (0, 0.0))
        if num_completed >= _GROWTH * computed_from:
            early, final = self._rungs[iteration].losses, self._rungs[self._max_iters].losses
            shared = [number for number in self._completed[-_MAX_COMPLETED:] if number in early]
            correlation = reliable_correlation([early[n] for n in shared], [final[n] for n in shared])
            self._correlations[iteration] = num_completed, correlation
        return correlation


def reliable_correlation(early: Sequence[float], final: Sequence[float]) -> float:
    """Return the lower end of the interval of Spearman's rho, at least 0; 0 if it is unknown."""
    found = spearman(early, final, CONFIDENCE)
    return 0.0 if found is None else max(0.0, found[1][0])


def chance_of_best(share_ahead: float, correlation: float, of_new: float, *, degrees_of_freedom: int) -> float:
    """Return the probability that a trial becomes the best.

    Args:
        share_ahead: Share of the trials at the same iteration with a better score, in (0, 1).
        correlation: Correlation of the scores at this iteration with the final ones, in [0, 1).
        of_new: Probability that a new trial becomes the best.
        degrees_of_freedom: Degrees of freedom of Student's t.
    """
    distance = (ndtri(of_new) - correlation * ndtri(share_ahead)) / math.sqrt(1.0 - correlation**2)
    return float(stdtr(degrees_of_freedom, distance))
