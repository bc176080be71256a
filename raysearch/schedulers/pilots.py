"""`grace_iters: auto`: a few full pilot trials show from where on early scores foretell the final order."""

from collections.abc import Callable, Collection, Mapping, Sequence

from raysearch.history.history import History
from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung_audit import TRUSTED, spearman

CONFIDENCE = 0.6
"""Of the interval whose lower end must reach `TRUSTED`: where the correlation is just that, one search in five trusts
it. Six pilots then need a rank correlation of .83, twelve .70; at the 95 % of the audit no order of six suffices."""


class AfterPilots(Scheduler):
    """Stops nothing until the first trials have reached the full budget, then begins a rule at the rung they show.

    Pilots are the first so many trials that reach the full budget; one that fails is replaced by the next. When the
    last of them has, the rule is built and told all reports so far, so that every trial stands at the rungs that it
    has passed, and decides from the next report on.
    """

    def __init__(self, num_pilots: int, *, smallest: int, max_iters: int, build: Callable[[int], Scheduler]) -> None:
        """Set the wait up.

        Args:
            num_pilots: Trials to wait for.
            smallest: The first rung does not lie before.
            max_iters: The full budget, in iterations.
            build: The rule, from its first rung.
        """
        self._num_pilots, self._smallest, self._max_iters, self._build = num_pilots, smallest, max_iters, build
        self._seen: list[Observation] = []
        self._completed: list[int] = []
        self._rule: Scheduler | None = None
        """None until the pilots are through."""

    def observe(self, seen: Observation) -> Decision:
        """Keep the report, or let the rule decide on it once there is one."""
        if self._rule is not None:
            return self._rule.observe(seen)
        self._seen.append(seen)
        if seen.iteration >= self._max_iters and seen.number not in self._completed:
            self._completed.append(seen.number)
        if len(self._completed) == self._num_pilots:
            self._begin()
        return Decision.CONTINUE

    def promotable(self, paused: Collection[int], *, at_least: int = 0) -> int | None:
        """Return what the rule promotes; None while there is no rule."""
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
    """The earliest iteration from which on the order of the pilots is trusted to foretell their final one.

    An iteration is trusted where the lower end of the interval of Spearman's rho between the scores there and the
    final ones reaches `TRUSTED`. A first rung is trusted, and so is every later iteration: with few pilots a single
    one may agree by luck. None but the last: `max_iters`, below which nothing is then stopped.

    Args:
        curves: Score by iteration of every pilot, up to the full budget.
        smallest: No earlier iteration is considered.
        max_iters: The full budget.
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
    """The first rung that a search found, from its history; None before its pilots are through."""
    through = [t for t in history.trials if t.reports and max(t.reports) >= max_iters and t.end_order is not None]
    pilots = sorted(through, key=lambda trial: trial.end_order or 0)[:num_pilots]
    if len(pilots) < num_pilots:
        return None
    curves = [{iteration: report.value for iteration, report in trial.reports.items()} for trial in pilots]
    return first_rung(curves, smallest=smallest, max_iters=max_iters)
