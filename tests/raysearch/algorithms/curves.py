"""Trials with given learning curves, for the tests of the process over curves."""

from raysearch.history.events import Report, Status
from raysearch.history.history import History, TrialHistory


def trial(number: int, curve: dict[int, float], status: Status = "completed") -> TrialHistory:
    reports = {iteration: Report(iteration, value, {}, None, 1.0, done=False) for iteration, value in curve.items()}
    return TrialHistory(number, {}, {}, {}, started=0.0, is_default=False, reports=reports, status=status)


def history_of(*trials: TrialHistory, mode: str = "max") -> History:
    history = History()
    history.mode = mode  # type: ignore[assignment]
    history.trials.extend(trials)
    return history
