"""Progress of a search: counts, best, rungs and running trials, kept up to date trial by trial.

A refresh costs time in proportion to the running trials, however many have ended.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory
from raysearch.schedulers import rungs_of
from raysearch.space.spec import SearchSpec
from trainables.protocol import ITERATIONS_SHARED

SPEED = "images_per_second"
"""Metric that holds the number of images per second that a trial trains on, if it is reported."""

_MAX_LEGS = 50
"""Number of latest reports from which the pace is computed."""


@dataclass(frozen=True)
class RunningTrial:
    """One trial that has a worker."""

    number: int
    is_default: bool
    values: Mapping[str, Any]
    """Searched values by dotted path."""
    iteration: int
    """Iteration of the last report; 0 before the first."""
    value: float | None
    """Value of the objective in the last report; None before the first."""
    images_per_second: float | None
    rung: int | None
    """Iteration of the highest rung that the trial has reached."""


@dataclass(frozen=True)
class RungCount:
    """One rung, and the number of trials that reached it and went beyond it."""

    iteration: int
    reached: int
    went_on: int


@dataclass(frozen=True)
class Pace:
    """Training speed of the trials.

    Iterations that another trial had already trained cost nothing and are not counted.
    """

    in_reports: float | None
    """Seconds per iteration of one trial in the latest reports; None before the first."""
    per_report: float
    """Mean number of iterations between two of these reports."""
    trained: int
    """Iterations of all trials together since counting began."""

    def seconds_per_iteration(self, elapsed_s: float, concurrent: int) -> float | None:
        """Return the seconds that one trial needs per iteration, with the time between trials; None at first.

        It is None before the first report. Otherwise it is the larger of two figures: the time per iteration in the
        reports, and the elapsed time per trained iteration. In the second, each running trial counts with one report's
        iterations that it may not have reported yet.
        """
        if self.in_reports is None:
            return None
        on_the_clock = elapsed_s * concurrent / (self.trained + concurrent * self.per_report)
        return max(self.in_reports, on_the_clock)


@dataclass(frozen=True)
class Progress:
    """A search at one moment."""

    name: str
    metric: str
    max_iters: int | None
    target_trials: int
    started: int
    ended: Mapping[str, int]
    """Number of ended trials by status."""
    paused: int
    running: tuple[RunningTrial, ...]
    best: TrialHistory | None
    best_report: Report | None
    default_value: float | None
    """Best value of the default config so far."""
    rungs: tuple[RungCount, ...]
    pace: "Pace"

    @property
    def images_per_second(self) -> float | None:
        """Images per second of all running trials together; None if no trial reports it."""
        speeds = [trial.images_per_second for trial in self.running if trial.images_per_second is not None]
        return sum(speeds) if speeds else None


class Leader:
    """The best trial so far, as in `History.ranked`, kept up to date without a look at all trials."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._best: tuple[float, float, int] | None = self._found()
        """Standing of the best trial, which ends with its number."""

    @property
    def number(self) -> int | None:
        """Number of the best trial; None as long as no trial can win."""
        return None if self._best is None else self._best[-1]

    def take(self, changed: Sequence[TrialHistory]) -> None:
        """Take in the changes of some trials."""
        for trial in changed:
            standing = self._standing(trial)
            if self._best is not None and trial.number == self.number and (standing is None or standing > self._best):
                self._best = self._found()  # for example, the leader has failed and another trial is now the best
            elif standing is not None and (self._best is None or standing < self._best):
                self._best = standing

    def _found(self) -> tuple[float, float, int] | None:
        best = self._history.best_trial()
        return None if best is None else self._standing(best)

    def _standing(self, trial: TrialHistory) -> tuple[float, float, int] | None:
        standing = self._history.standing(trial)
        return None if standing is None else (*standing, trial.number)


class ProgressCount:
    """A count of a search's trials that follows their changes."""

    def __init__(self, spec: SearchSpec, history: History) -> None:
        """Count what the history holds so far."""
        self._spec, self._history = spec, history
        self._leader = Leader(history)
        self._ended: Counter[str] = Counter()
        self._open: dict[int, TrialHistory] = {}
        self._count_all()
        self._trained = 0

    def take(self, changed: Sequence[TrialHistory]) -> None:
        """Take in the changes of some trials."""
        self._leader.take(changed)
        self._trained += sum(_trained_since(trial, self._seen.get(trial.number, 0)) for trial in changed)
        for trial in changed:
            self._count(trial)

    def progress(self) -> Progress:
        """Return the current state of the search."""
        history = self._history
        running = tuple(self._running(trial) for trial in self._open.values() if not trial.is_paused)
        best = None if self._leader.number is None else history.trials[self._leader.number]
        default = next((trial for trial in history.trials if trial.is_default), None)
        default_best = default.best(history.mode) if default else None
        return Progress(
            name=self._spec.name,
            metric=self._spec.objectives[0].metric,
            max_iters=self._spec.max_iters,
            target_trials=history.target_trials,
            started=len(history.trials),
            ended=dict(self._ended),
            paused=len(self._open) - len(running),
            running=running,
            best=best,
            best_report=best.best(history.mode) if best else None,
            default_value=default_best.value if default_best else None,
            rungs=tuple(RungCount(rung, self._reached[rung], self._went_on[rung]) for rung in self._rungs),
            pace=self._pace(),
        )

    def _count_all(self) -> None:
        self._rungs = rungs_of(self._spec)
        self._reached: Counter[int] = Counter()
        self._went_on: Counter[int] = Counter()
        self._seen: dict[int, int] = {}
        """Last iteration of each open trial that has been counted."""
        self._ended.clear()
        self._counted: set[int] = set()
        """Trials that have ended and been counted."""
        self._legs: deque[tuple[int, float]] = deque(maxlen=_MAX_LEGS)
        """Iterations and seconds of the latest reports."""
        for trial in self._history.trials:
            self._count(trial)

    def _count(self, trial: TrialHistory) -> None:
        if trial.number in self._counted:
            return
        before = self._seen.get(trial.number, 0)
        last = max(trial.reports, default=0)
        for rung in self._rungs:
            first = min((iteration for iteration in trial.reports if iteration >= rung), default=None)
            if first is None:
                break
            self._reached[rung] += before < rung
            self._went_on[rung] += before <= first < last
        self._seen[trial.number] = last
        if last > before:
            self._legs.append(_last_leg(trial))
        if trial.status == "running":
            self._open[trial.number] = trial
        else:
            self._ended[trial.status] += 1
            self._counted.add(trial.number)
            self._open.pop(trial.number, None)
            self._seen.pop(trial.number, None)

    def _pace(self) -> Pace:
        iterations = sum(iterations for iterations, _ in self._legs)
        seconds = sum(seconds for _, seconds in self._legs)
        in_reports = seconds / iterations if iterations > 0 else None
        return Pace(in_reports, iterations / max(1, len(self._legs)), self._trained)

    def _running(self, trial: TrialHistory) -> RunningTrial:
        last = trial.last
        iteration = last.iteration if last else 0
        return RunningTrial(
            number=trial.number,
            is_default=trial.is_default,
            values=trial.values,
            iteration=iteration,
            value=last.value if last else None,
            images_per_second=last.metrics.get(SPEED) if last else None,
            rung=max((rung for rung in self._rungs if rung <= iteration), default=None),
        )


def _trained_since(trial: TrialHistory, iteration: int) -> int:
    """Return the iterations that were trained for the reports after `iteration`."""
    after = [report for report in trial.reports.values() if report.iteration > iteration]
    shared = sum(int(report.metrics.get(ITERATIONS_SHARED, 0)) for report in after)
    return max((report.iteration for report in after), default=iteration) - iteration - shared


def _last_leg(trial: TrialHistory) -> tuple[int, float]:
    """Return the iterations that were trained for the last report, and the seconds that it took."""
    last = trial.last
    assert last is not None
    before = max((iteration for iteration in trial.reports if iteration < last.iteration), default=0)
    return _trained_since(trial, before), last.seconds
