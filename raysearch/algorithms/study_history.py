"""The trials of a study of Optuna as the history of a search, for algorithms that learn from one."""

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
    """A trial whose value, where it has one, stands in for the best of its reports."""

    outcome: Report | None = None
    """The value that it ended with."""

    def best(self, mode: Mode) -> Report | None:
        """Return the value as a report; without one, the report with the best value."""
        return self.outcome or super().best(mode)


def history_of(study: Study, names: Collection[str], number: int) -> History:
    """Return the trials of a study, those aside that wait or that run without all parameters.

    Of several objectives the first one counts. A completed trial counts with its value, whatever it reported on the
    way; a pruned one as stopped, with its intermediate values. A trial that violates the constraint `feasible`, or any
    without a value, or whose value is not finite, is infeasible. One that failed, or was pruned before it reported,
    tells nothing.

    Args:
        study: The study.
        names: The parameters that a running trial must have.
        number: Number of the trial that is asked for, which is left out.
    """
    history = History()
    history.mode = "min" if study.directions[0] == StudyDirection.MINIMIZE else "max"
    for trial in study.get_trials(deepcopy=False):
        is_whole = trial.state.is_finished() or (trial.state == TrialState.RUNNING and {*names} <= {*trial.params})
        if is_whole and trial.number != number:
            history.trials.append(_trial_of(trial))
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
