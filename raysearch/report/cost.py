"""Panel: the cost of the search, and its savings by early stopping and by shared iterations."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.history.events import Status
from raysearch.history.history import TrialHistory
from raysearch.report.parts import STATUS_COLORS, Fact, Facts, Part, Table, Text
from raysearch.report.view import SearchView
from trainables.plurals import counted

_HOUR_S = 3600.0


@dataclass(frozen=True)
class StatusCost:
    """Trials with the same final status."""

    status: Status
    num_trials: int
    iterations: int
    """Iterations that these trials trained themselves."""
    hours: float
    """Device hours."""


@dataclass(frozen=True)
class CostInfo:
    """Device hours: of GPUs if a trial has one, otherwise of CPUs."""

    device: str
    """Kind of device, GPU or CPU."""
    per_trial: float
    """Devices per trial; a fraction means that trials share one."""
    hours: float
    """Hours up to the last report of each trial: training, scoring and checkpoints."""
    saved_by_stopping: float | None
    """Hours that the stopped trials would have needed to reach the full budget at their own pace; None if there is no
    known budget.
    """
    saved_by_sharing: float
    """Hours that shared iterations would have taken at the pace of the trials that reused them."""
    iterations_shared: int
    num_stopped: int
    statuses: tuple[StatusCost, ...]

    @property
    def of_failures(self) -> float:
        """Hours of trials that cannot win."""
        return sum(one.hours for one in self.statuses if one.status in ("infeasible", "failed"))


def cost_info(view: SearchView) -> CostInfo | None:
    """Return hours by final status; None before the first report."""
    reporting = [trial for trial in view.history.trials if trial.reports]
    if not reporting:
        return None
    devices = view.gpu or view.cpu
    stopped = [trial for trial in reporting if trial.status == "stopped"]
    left = [max(0, (view.max_iters or 0) - _reached(trial)) for trial in stopped]
    return CostInfo(
        device="GPU" if view.gpu else "CPU",
        per_trial=devices,
        hours=devices * sum(map(_seconds, reporting)) / _HOUR_S,
        saved_by_stopping=None if view.max_iters is None else devices * _worth(stopped, left) / _HOUR_S,
        saved_by_sharing=devices * _worth(reporting, [trial.iterations_shared for trial in reporting]) / _HOUR_S,
        iterations_shared=view.history.iterations_shared[0],
        num_stopped=len(stopped),
        statuses=tuple(
            StatusCost(status, len(ended), sum(map(_trained, ended)), devices * sum(map(_seconds, ended)) / _HOUR_S)
            for status in STATUS_COLORS
            if (ended := [trial for trial in view.history.trials if trial.status == status])
        ),
    )


def _worth(trials: Sequence[TrialHistory], iterations: Sequence[int]) -> float:
    """Return the seconds that the given iterations would have taken, those of each trial at its own pace."""
    return sum(
        number * _seconds(trial) / trained
        for trial, number in zip(trials, iterations, strict=True)
        if (trained := _trained(trial)) > 0
    )


def _seconds(trial: TrialHistory) -> float:
    return sum(report.seconds for report in trial.reports.values())


def _reached(trial: TrialHistory) -> int:
    return trial.last.iteration if trial.last else 0


def _trained(trial: TrialHistory) -> int:
    return _reached(trial) - trial.iterations_shared


def cost_parts(info: CostInfo | None) -> list[Part]:
    """Return hours spent and saved as facts, and the hours by final status as a table."""
    if info is None:
        return [Text("No trial has reported yet.")]
    hours = f"{info.device} hours"
    facts = [Fact(hours, hours_shown(info.hours), f"{info.per_trial:g} {info.device} per trial")]
    if info.saved_by_stopping is not None:
        facts.append(
            Fact(
                "saved by stopping early",
                hours_shown(info.saved_by_stopping),
                f"{counted(info.num_stopped, 'trial')} stopped",
            )
        )
    facts.append(
        Fact(
            "saved by shared iterations",
            hours_shown(info.saved_by_sharing),
            f"{counted(info.iterations_shared, 'iteration', form=',')} not trained again",
        )
    )
    whole = info.hours + (info.saved_by_stopping or 0.0) + info.saved_by_sharing
    text = (
        f"Training each of these trials separately and to the end would have taken {hours_shown(whole)} {hours}; the "
        f"search saved {1 - info.hours / whole:.0%} of that. "
        if whole > info.hours > 0.0
        else ""
    )
    text += "Times include scoring and checkpoints. Savings are estimates based on each trial's own speed."
    if info.of_failures > 0.0:
        text += f" Failed and infeasible trials took {hours_shown(info.of_failures)} {hours}."
    rows = tuple(
        (one.status, str(one.num_trials), f"{one.iterations:,}", hours_shown(one.hours)) for one in info.statuses
    )
    return [Facts(tuple(facts)), Text(text), Table(("status", "trials", "iterations trained", hours), rows)]


def hours_shown(hours: float) -> str:
    """Format hours as short text."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 10 else f"{hours:.2g}" if hours else "0"


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return cost_parts(cost_info(view))
