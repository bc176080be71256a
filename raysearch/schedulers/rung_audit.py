"""Whether early scores can be trusted: the rank correlation of the score at each rung with that at the full budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from scipy.stats import norm, spearmanr

from raysearch.history.history import History, TrialHistory

MIN_TRIALS = 7
"""With fewer, not even a perfect order rules a correlation below `TRUSTED` out."""

TRUSTED = 0.5
"""Rank correlation from which on an early score says more about the final order than not."""

Verdict = Literal["too few", "tied", "misleading", "unclear", "trusted"]

_CONCLUSIONS: dict[Verdict, str] = {
    "misleading": f"Early scores mislead at {{}}: their order is not the final one (correlation below {TRUSTED}).",
    "unclear": f"Early scores may mislead at {{}}: a correlation below {TRUSTED} is not ruled out.",
    "trusted": f"Early scores can be trusted at {{}}: their order is largely the final one (above {TRUSTED}).",
}
"""By falling gravity."""


@dataclass(frozen=True)
class RungAudit:
    """How well the order of trials at one iteration foretells their order at the full budget."""

    iteration: int
    num_trials: int
    """Trials with a score at both."""
    num_audited: int
    """Of these, the trials that were let through past every stop."""
    num_missing: int
    """Trials with a score here that ended before the full budget."""
    correlation: float | None
    """Spearman's rho in [-1, 1]; None with fewer than `MIN_TRIALS` trials, or where all score the same."""
    interval: tuple[float, float] | None
    """Its 95 % confidence interval."""

    @property
    def verdict(self) -> Verdict:
        """Whether the whole interval lies below `TRUSTED`, around it, or at it and above."""
        if self.num_trials < MIN_TRIALS:
            return "too few"
        if self.interval is None:
            return "tied"
        low, high = self.interval
        if high < TRUSTED:
            return "misleading"
        return "trusted" if low >= TRUSTED else "unclear"


@dataclass(frozen=True)
class SearchAudit:
    """The audit of every rung."""

    full_iteration: int | None
    """Where the final scores were taken; None while no trial has completed."""
    at_rungs: bool
    """Whether the iterations are those of rungs; else they are the quarter points of the budget."""
    rungs: tuple[RungAudit, ...]
    """By iteration."""

    @property
    def misleads(self) -> bool:
        """Whether the early scores of some rung have another order than the final ones, beyond doubt."""
        return any(rung.verdict == "misleading" for rung in self.rungs)

    @property
    def conclusion(self) -> str:
        """The gravest thing that can be said, in a sentence."""
        if self.full_iteration is None:
            return "No trial has completed yet: there is no final score to compare early ones with."
        if not self.rungs:
            return f"No report lies before iteration {self.full_iteration}: there is no early score to compare."
        noun = "rung" if self.at_rungs else "iteration"
        for verdict, sentence in _CONCLUSIONS.items():
            found = [str(rung.iteration) for rung in self.rungs if rung.verdict == verdict]
            if found:
                return sentence.format(f"{noun if len(found) == 1 else f'{noun}s'} {', '.join(found)}")
        if any(rung.verdict == "tied" for rung in self.rungs):
            return "All trials score the same: there is no order to compare."
        most = max(rung.num_trials for rung in self.rungs)
        return f"Too few trials to tell: {most} ran to the full budget, and it takes {MIN_TRIALS}."


def audit_rungs(history: History, rungs: Sequence[int], max_iters: int | None) -> SearchAudit:
    """Spearman's rank correlation of the score at each rung with the score at the full budget.

    A score is the value of a trial's first report at or beyond an iteration, as the stopping rules take it. A trial
    counts where both scores exist and are not one and the same report. Trials that were stopped have no score at the
    full budget: those that remain resemble one another, which makes the correlation among them lower than it would be
    among all. Audited trials are there to widen the sample again.

    Args:
        history: The search so far.
        rungs: Iterations to audit; none: the quarter points of the budget that have reports.
        max_iters: The full budget; None: the furthest iteration of a completed trial.
    """
    lengths = [trial.last.iteration for trial in history.trials if trial.status == "completed" and trial.last]
    if not lengths:
        return SearchAudit(None, bool(rungs), ())
    full = max(lengths) if max_iters is None else min(max(lengths), max_iters)
    iterations = rungs or _quarter_points(history, full)
    audits = tuple(_audit(history, iteration, full) for iteration in sorted(iterations) if iteration < full)
    return SearchAudit(full, bool(rungs), audits)


def spearman(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> tuple[float, tuple[float, float]] | None:
    """Spearman's rho and its interval; None with fewer than 4 pairs, or where one side is constant.

    The interval is Fisher's, with the standard error of Bonett and Wright (Psychometrika, 2000):
    atanh(rho) +- z * sqrt((1 + rho^2 / 2) / (n - 3)). A perfect order, whose atanh is infinite, is taken to be one
    exchange of neighbours short of it, for what a larger sample would show is not known.
    """
    n = len(first)
    if n < 4 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    rho = float(spearmanr(first, second).statistic)
    largest = 1 - 12 / (n**3 - n)
    bounded = min(max(rho, -largest), largest)
    half_width = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt((1 + bounded**2 / 2) / (n - 3))
    low, high = math.tanh(math.atanh(bounded) - half_width), math.tanh(math.atanh(bounded) + half_width)
    return rho, (min(low, rho), max(high, rho))


def _audit(history: History, iteration: int, full: int) -> RungAudit:
    early, final, num_audited, num_missing = [], [], 0, 0
    for trial in history.trials:
        at_rung, at_full = _first_report(trial, iteration), _first_report(trial, full)
        if at_rung is not None and at_full is None and trial.status != "running":
            num_missing += 1
        if at_rung is None or at_full is None or at_rung == at_full:
            continue
        early.append(trial.reports[at_rung].value)
        final.append(trial.reports[at_full].value)
        num_audited += trial.is_audited
    found = spearman(early, final) if len(early) >= MIN_TRIALS else None
    correlation, interval = found if found is not None else (None, None)
    return RungAudit(iteration, len(early), num_audited, num_missing, correlation, interval)


def _first_report(trial: TrialHistory, iteration: int) -> int | None:
    """The iteration of the first report at or beyond an iteration."""
    return min((reported for reported in trial.reports if reported >= iteration), default=None)


def _quarter_points(history: History, full: int) -> list[int]:
    """1/4, 1/2 and 3/4 of the budget; without those that no report lies between and the next."""
    edges = [math.ceil(full * quarter / 4) for quarter in range(1, 5)]
    reported = {iteration for trial in history.trials for iteration in trial.reports}
    return [low for low, high in pairwise(edges) if any(low <= iteration < high for iteration in reported)]
