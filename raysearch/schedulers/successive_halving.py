"""Asynchronous successive halving (Li et al., MLSys 2020, arXiv 1810.05934), which stops or pauses trials."""

from collections.abc import Collection

from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung import Rung, Slack


class SuccessiveHalving(Scheduler):
    """Rungs at r, r*eta, r*eta^2, ... iterations below the full budget R; the best 1/eta of the trials pass a rung.

    This is the stopping form: a trial that does not pass a rung stops there for good. A trial's value at a rung is that
    of its first report at or after the rung. The decision counts the trials that have reached the rung so far,
    including the one that is decided on, and the best trial always passes. Rungs are keyed by trial number, so a report
    that is repeated after a restart gives the same decision.
    """

    def __init__(self, *, grace_iters: int, max_iters: int, reduction_factor: int, slack: Slack = 0.0) -> None:
        """Create the rungs.

        Args:
            grace_iters: Minimum resource r, in iterations.
            max_iters: Maximum resource R, in iterations.
            reduction_factor: eta; one in eta trials passes a rung.
            slack: Distance to the cut of a rung within which a trial also passes.
        """
        assert 1 <= grace_iters <= max_iters
        self.rungs = rung_iterations(grace_iters, max_iters, reduction_factor)
        self._rungs = {iteration: Rung(reduction_factor, slack) for iteration in self.rungs}

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung that it has reached; stop it unless it passes all of them."""
        is_let_on = all(rung.lets_on(seen.number) for rung in self._enter(seen))
        return Decision.CONTINUE if is_let_on else Decision.STOP

    def _enter(self, seen: Observation) -> list[Rung]:
        """Enter the trial at the rungs that it reaches for the first time, and return these."""
        reached = [self._rungs[r] for r in self.rungs if r <= seen.iteration and seen.number not in self._rungs[r]]
        for rung in reached:
            rung.enter(seen.number, seen.loss, seen.draws)
        return reached


class PromotingHalving(SuccessiveHalving):
    """Successive halving in its promotion form (algorithm 2): a trial pauses at every rung until it is promoted.

    Whenever a worker is free, the highest rung with a paused trial among its best 1/eta promotes the best of these. A
    new trial only starts if no rung promotes one. A trial that arrives behind better ones waits, and resumes once
    enough others have turned out worse.
    """

    def __init__(self, *, grace_iters: int, max_iters: int, reduction_factor: int, slack: Slack = 0.0) -> None:
        """Create the rungs; see `SuccessiveHalving`."""
        super().__init__(grace_iters=grace_iters, max_iters=max_iters, reduction_factor=reduction_factor, slack=slack)
        self._held_at: dict[int, Rung] = {}
        """Rung that every trial reached in its last report, if it reached one."""

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung that it has reached; pause it if it has reached a new one."""
        left = self._held_at.pop(seen.number, None)
        if left is not None:
            left.release(seen.number)
        reached = self._enter(seen)
        if not reached:
            return Decision.CONTINUE
        self._held_at[seen.number] = reached[-1]
        reached[-1].hold(seen.number)
        return Decision.PAUSE

    def promotable(self, paused: Collection[int], *, at_least: int = 0) -> int | None:
        """Return the paused trial that resumes next; None if no rung promotes one.

        Args:
            paused: Numbers of all paused trials.
            at_least: Number of trials that a rung promotes even if they are more than 1/eta of it. The paper has 0.
                With 1 at the end of a search, the best trial of a small search also gets the full budget.
        """
        promotable = (self._rungs[iteration].promotable(paused, at_least) for iteration in reversed(self.rungs))
        return next((number for number in promotable if number is not None), None)


def rung_iterations(grace_iters: int, max_iters: int, reduction_factor: int) -> tuple[int, ...]:
    """Return the iterations of the rungs: grace_iters times the powers of reduction_factor, all below max_iters."""
    rungs = []
    rung = grace_iters
    while rung < max_iters:
        rungs.append(rung)
        rung *= reduction_factor
    return tuple(rungs)
