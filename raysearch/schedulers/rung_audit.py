"""Audit of early scores: rank correlation of the scores at each rung with those at the full budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from raysearch.history.history import History, TrialHistory

MIN_TRIALS = 7
"""Least number of trials: with fewer, even a perfect order does not exclude a correlation below `TRUSTED`."""

TRUSTED = 0.5
"""Rank correlation from which on an early score is considered to predict the final order."""

Verdict = Literal["too few", "tied", "misleading", "unclear", "trusted"]

_CONCLUSIONS: dict[Verdict, str] = {
    "misleading": f"Early scores mislead at {{}}: they do not predict the final order (correlation below {TRUSTED}).",
    "unclear": f"Early scores may mislead at {{}}: their correlation with final scores may be below {TRUSTED}.",
    "trusted": f"Early scores can be trusted at {{}}: they largely predict the final order (above {TRUSTED}).",
}
"""Conclusions, the worst first."""


@dataclass(frozen=True)
class RungAudit:
    """The agreement between the order of trials at one iteration and their order at the full budget."""

    iteration: int
    num_trials: int
    """Number of trials with a score at both iterations."""
    num_audited: int
    """Number of these trials that continued past every stop for the audit."""
    num_missing: int
    """Number of trials with a score at this iteration that ended before the full budget."""
    correlation: float | None
    """Spearman's rho in [-1, 1]; None with fewer than `MIN_TRIALS` trials or if all scores are equal."""
    interval: tuple[float, float] | None
    """95 % confidence interval of the correlation."""

    @property
    def verdict(self) -> Verdict:
        """Position of the whole interval: below `TRUSTED`, around it, or at it and above."""
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
    """The audit of all rungs."""

    full_iteration: int | None
    """Iteration of the final scores; None before a trial has completed."""
    at_rungs: bool
    """True if the iterations are rungs, False if they are the quarter points of the budget."""
    rungs: tuple[RungAudit, ...]
    """Audits ordered by iteration."""

    @property
    def misleads(self) -> bool:
        """True if the early scores of some rung certainly have another order than the final ones."""
        return any(rung.verdict == "misleading" for rung in self.rungs)

    @property
    def conclusion(self) -> str:
        """Worst conclusion that holds for some rung, as a sentence."""
        if self.full_iteration is None:
            return "No trial has completed yet, so there is no final score to compare early scores with."
        if not self.rungs:
            return (
                f"There is no early score to compare, because no trial reports before iteration {self.full_iteration}."
            )
        noun = "rung" if self.at_rungs else "iteration"
        for verdict, sentence in _CONCLUSIONS.items():
            found = [str(rung.iteration) for rung in self.rungs if rung.verdict == verdict]
            if found:
                return sentence.format(f"{noun if len(found) == 1 else f'{noun}s'} {', '.join(found)}")
        if any(rung.verdict == "tied" for rung in self.rungs):
            return "All trials have the same score, so there is no order to compare."
        most = max(rung.num_trials for rung in self.rungs)
        return f"Too few trials to tell: {most} trained to the full budget, and {MIN_TRIALS} are needed."


def audit_rungs(history: History, rungs: Sequence[int], max_iters: int | None) -> SearchAudit:
    """Return Spearman's rank correlation of the scores at each rung with the scores at the full budget.

    A score is the value of a trial's first report at or after an iteration, as in the stopping rules. A trial counts if
    it has both scores and they come from different reports. Stopped trials have no score at the full budget. The
    remaining trials resemble each other, so their correlation is lower than it would be among all trials. Audited
    trials reduce this bias.

    Args:
        history: The search so far.
        rungs: Iterations to audit; empty: the quarter points of the budget that have reports.
        max_iters: Full budget; None: the latest iteration of a completed trial.
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
    """Return Spearman's rho and its interval; None with fewer than 4 pairs or if one side is constant.

    The interval is Fisher's, with the standard error of Bonett and Wright (Psychometrika, 2000): atanh(rho) +- z *
    sqrt((1 + rho^2 / 2) / (n - 3)). For a perfect order, atanh is infinite. It is treated as if two neighbours were
    swapped, because a larger sample might not be perfect.
    """
    n = len(first)
    if n < 4 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    ranks, others = _centred_ranks(first), _centred_ranks(second)
    rho = float(ranks @ others / math.sqrt((ranks @ ranks) * (others @ others)))
    largest = 1 - 12 / (n**3 - n)
    bounded = min(max(rho, -largest), largest)
    half_width = float(ndtri(0.5 + confidence / 2)) * math.sqrt((1 + bounded**2 / 2) / (n - 3))
    low, high = math.tanh(math.atanh(bounded) - half_width), math.tanh(math.atanh(bounded) + half_width)
    return rho, (min(low, rho), max(high, rho))


def _centred_ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return mean ranks minus their mean; estimates need them so often that SciPy's general functions are too slow."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks - (len(values) + 1) / 2


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
    """Return the iteration of the first report at or after an iteration."""
    return min((reported for reported in trial.reports if reported >= iteration), default=None)


def _quarter_points(history: History, full: int) -> list[int]:
    """Return 1/4, 1/2 and 3/4 of the budget, without those that have no report before the next one."""
    edges = [math.ceil(full * quarter / 4) for quarter in range(1, 5)]
    reported = {iteration for trial in history.trials for iteration in trial.reports}
    return [low for low, high in pairwise(edges) if any(low <= iteration < high for iteration in reported)]
