"""The trials of a study of Optuna as the history of a search, for algorithms that learn from a history."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from raysearch.history.events import CONSTRAINT, Mode, Report, Status
from raysearch.history.history import History, TrialHistory


@dataclass
class _StudyTrial(TrialHistory):
    """A trial whose final value, if it has one, replaces the best of its reports."""

    outcome: Report | None = None
    """Value that the trial ended with."""

    def best(self, mode: Mode) -> Report | None:
        """Return the final value as a report; without one, the report with the best value."""
        return self.outcome or super().best(mode)


def history_of(study: Study, names: Collection[str], number: int) -> History:
    """Return the history of a study's trials; waiting trials and running trials with other parameters are left out.

    Only the first objective counts. A completed trial counts with its final value, not with its intermediate values. A
    pruned trial counts as stopped, with its intermediate values. A trial is infeasible if it violates the constraint
    `feasible`, if it violates any constraint and has no value, or if its value is not finite. A trial that failed, or
    was pruned before it reported, is ignored by the algorithms.

    Args:
        study: The study.
        names: Names of the parameters that a running trial must have.
        number: Number of the trial that values are requested for; it is left out.
    """
    history = History()
    history.mode = "min" if study.directions[0] == StudyDirection.MINIMIZE else "max"
    for trial in study.get_trials(deepcopy=False):
        is_whole = trial.state.is_finished() or (trial.state == TrialState.RUNNING and {*names} <= {*trial.params})
        if is_whole and trial.number != number:
            history.add(_trial_of(trial))
    ended = [trial for trial in history.trials if trial.ended is not None]
    for place, ending in enumerate(sorted(ended, key=lambda trial: (trial.ended, trial.number))):
        ending.end_order = place
    return history


def _trial_of(trial: FrozenTrial) -> TrialHistory:
    constraints = trial.constraints
    curve = {step: value for step, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)}
    reports = {step: Report(step, value, {}, None, 0.0, False, constraints) for step, value in curve.items()}
    status = _status_of(trial, bool(reports) or trial.state == TrialState.COMPLETE)
    outcome = None
    if status == "completed":
        outcome = Report(max(reports, default=0), trial.values[0], {}, None, 0.0, True, constraints)
    return _StudyTrial(
        number=trial.number,
        params=trial.params,
        values=trial.params,
        distributions=trial.distributions,
        started=0.0,
        is_default=False,
        reports=reports,
        status=status,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete is not None else None,
        excess=max((amount for amount in constraints.values() if amount > 0.0), default=None),
        outcome=outcome,
    )


def _status_of(trial: FrozenTrial, has_value: bool) -> Status:
    match trial.state:
        case TrialState.RUNNING:
            return "running"
        case TrialState.FAIL:
            return "failed"
        case TrialState.COMPLETE if not math.isfinite(trial.values[0]):
            return "infeasible"
    violated = any(amount > 0.0 for amount in trial.constraints.values())
    if trial.constraints.get(CONSTRAINT, 0.0) > 0.0 or (violated and not has_value):
        return "infeasible"
    if not has_value:
        return "failed"
    return "completed" if trial.state == TrialState.COMPLETE else "stopped"
