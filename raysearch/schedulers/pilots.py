"""`grace_iters: auto`: pilot trials at full budget show from which iteration early scores predict the final order."""

from collections.abc import Callable, Collection, Mapping, Sequence

from raysearch.history.history import History
from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung_audit import TRUSTED, spearman

CONFIDENCE = 0.6
"""Confidence level of the interval whose lower end must reach `TRUSTED`.

If the true correlation at an iteration is exactly `TRUSTED`, one search in five trusts that iteration. Six pilots need
a rank correlation of 0.83, twelve need 0.70. At the level of 95 % that the audit uses, no order of six pilots would
suffice.
"""


class AfterPilots(Scheduler):
    """A rule that stops no trial until the pilots have finished, and then applies another rule from the rung they find.

    Pilots are the first `num_pilots` trials that reach the full budget; a trial that fails is replaced by the next.
    When the last pilot has finished, the other rule is created and receives all earlier reports, so that every trial is
    entered at the rungs that it has reached. It decides from the next report on.
    """

    def __init__(self, num_pilots: int, *, smallest: int, max_iters: int, build: Callable[[int], Scheduler]) -> None:
        """Create the rule.

        Args:
            num_pilots: Number of pilots.
            smallest: Earliest possible first rung, in iterations.
            max_iters: Full budget, in iterations.
            build: Function that creates the other rule, given its first rung.
        """
        self._num_pilots, self._smallest, self._max_iters, self._build = num_pilots, smallest, max_iters, build
        self._seen: list[Observation] = []
        self._completed: list[int] = []
        self._rule: Scheduler | None = None
        """The other rule; None until the pilots have finished."""

    def observe(self, seen: Observation) -> Decision:
        """Record the report, or let the other rule decide on it once it exists."""
        if self._rule is not None:
            return self._rule.observe(seen)
        self._seen.append(seen)
        if seen.iteration >= self._max_iters and seen.number not in self._completed:
            self._completed.append(seen.number)
        if len(self._completed) == self._num_pilots:
            self._begin()
        return Decision.CONTINUE

    def promotable(self, paused: Collection[int], *, at_least: int = 0) -> int | None:
        """Return the trial that the other rule promotes; None as long as it does not exist."""
        return None if self._rule is None else self._rule.promotable(paused, at_least=at_least)

    def _begin(self) -> None:
        curves: dict[int, dict[int, float]] = {number: {} for number in self._completed}
        for seen in self._seen:
            if seen.number in curves:
                curves[seen.number][seen.iteration] = seen.loss
        rung = first_rung(list(curves.values()), smallest=self._smallest, max_iters=self._max_iters)
        self._rule = rule = self._build(rung)
        for seen in self._seen:
            rule.observe(seen)
        self._seen.clear()


def first_rung(curves: Sequence[Mapping[int, float]], *, smallest: int, max_iters: int) -> int:
    """Return the earliest iteration from which on the order of the pilots predicts their final order.

    An iteration is trusted if the lower end of the interval of Spearman's rho between the scores there and the final
    scores reaches `TRUSTED`. At the first rung and at every later iteration the order must be trusted, because few
    pilots may agree by chance at a single iteration. If no such iteration exists, the result is `max_iters`, and no
    trial is stopped.

    Args:
        curves: Scores by iteration of every pilot, up to the full budget.
        smallest: Earliest iteration that is considered.
        max_iters: Full budget, in iterations.
    """
    final = [curve[max(curve)] for curve in curves]
    shared = set.intersection(*(set(curve) for curve in curves))
    rung = max_iters
    for iteration in sorted((i for i in shared if smallest <= i < max_iters), reverse=True):
        found = spearman([curve[iteration] for curve in curves], final, confidence=CONFIDENCE)
        if found is None or found[1][0] < TRUSTED:
            break
        rung = iteration
    return rung


def pilot_rung(history: History, num_pilots: int, *, smallest: int, max_iters: int) -> int | None:
    """Return the first rung that a search found, from its history; None before its pilots have finished."""
    through = [t for t in history.trials if t.reports and max(t.reports) >= max_iters and t.end_order is not None]
    pilots = sorted(through, key=lambda trial: trial.end_order or 0)[:num_pilots]
    if len(pilots) < num_pilots:
        return None
    curves = [{iteration: report.value for iteration, report in trial.reports.items()} for trial in pilots]
    return first_rung(curves, smallest=smallest, max_iters=max_iters)
