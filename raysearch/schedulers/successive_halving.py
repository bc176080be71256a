"""Asynchronous successive halving (Li et al., MLSys 2020, arXiv 1810.05934), stopping trials or pausing them."""

from collections.abc import Collection

from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung import Rung, Slack


class SuccessiveHalving(Scheduler):
    """Rungs at r, r*eta, r*eta^2, ... iterations below the full budget R; a rung lets the best 1/eta of its trials on.

    This is the stopping form: a trial that a rung does not let on stops there for good. A trial's value at a rung is
    that of its first report at or beyond the rung. The decision counts the trials that reached the rung so far, the
    deciding one included, and always lets the best on. Rungs are keyed by trial number, so a trial that repeats a
    report after a restart decides as it did before.
    """

    def __init__(self, *, grace_iters: int, max_iters: int, reduction_factor: int, slack: Slack = 0.0) -> None:
        """Set the rungs.

        Args:
            grace_iters: The minimum resource r, in iterations.
            max_iters: The maximum resource R, in iterations.
            reduction_factor: eta; a rung lets one in eta on.
            slack: How far behind those a trial still goes on.
        """
        assert 1 <= grace_iters <= max_iters
        self.rungs = rung_iterations(grace_iters, max_iters, reduction_factor)
        self._rungs = {iteration: Rung(reduction_factor, slack) for iteration in self.rungs}

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung it has reached; stop it if one of those does not let it on."""
        is_let_on = all(rung.lets_on(seen.number) for rung in self._enter(seen))
        return Decision.CONTINUE if is_let_on else Decision.STOP

    def _enter(self, seen: Observation) -> list[Rung]:
        """Enter the trial at the rungs that it reaches for the first time, and return these."""
        reached = [self._rungs[r] for r in self.rungs if r <= seen.iteration and seen.number not in self._rungs[r]]
        for rung in reached:
            rung.enter(seen.number, seen.loss, seen.draws)
        return reached


class PromotingHalving(SuccessiveHalving):
    """The same rungs in the promotion form (algorithm 2): a trial pauses at every rung until it is let on.

    Whenever a worker is free, the highest rung that has a paused trial among its best 1/eta lets the best of these on;
    a new trial starts only where no rung does. Nothing is lost by coming at the wrong time: a trial that better ones
    were ahead of waits, and goes on once enough others have turned out worse.
    """

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung it has reached; pause it if there is one."""
        return Decision.PAUSE if self._enter(seen) else Decision.CONTINUE

    def promotable(self, paused: Collection[int], *, at_least: int = 0) -> int | None:
        """Return the paused trial that goes on next; None while no rung lets one on.

        Args:
            paused: Every trial that is paused now.
            at_least: How many trials a rung lets on though they are more than 1/eta of it. The paper has 0; with 1 at
                the end of a search, the best trial of a small one runs to the full budget too.
        """
        waiting = set(paused)
        for iteration in reversed(self.rungs):
            rung = self._rungs[iteration]
            here = [number for number in waiting if number in rung]
            waiting.difference_update(here)  # in a lower rung they have been let on already
            let_on = rung.let_on(here, at_least)
            if let_on:
                return let_on[0]
        return None


def rung_iterations(grace_iters: int, max_iters: int, reduction_factor: int) -> tuple[int, ...]:
    """Iterations of the rungs: grace_iters times the powers of reduction_factor, all below max_iters."""
    rungs = []
    rung = grace_iters
    while rung < max_iters:
        rungs.append(rung)
        rung *= reduction_factor
    return tuple(rungs)
