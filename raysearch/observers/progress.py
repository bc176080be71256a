"""How far a search is: counts, best, rungs and running trials, kept up to date trial by trial.

A refresh costs as much as there are trials running, however many have ended.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory
from raysearch.schedulers import first_rung, rungs_of
from raysearch.space.spec import SearchSpec
from trainables.protocol import ITERATIONS_SHARED

SPEED = "images_per_second"
"""The metric that says how many images a trial trains with in a second, where one is reported."""

_MAX_LEGS = 50
"""Reports that the pace is taken of."""


@dataclass(frozen=True)
class RunningTrial:
    """One trial that has a worker."""

    number: int
    is_default: bool
    values: Mapping[str, Any]
    """The searched values, by dotted path."""
    iteration: int
    """Of its last report; 0 before the first."""
    value: float | None
    """Of its last report."""
    images_per_second: float | None
    rung: int | None
    """The iteration of the highest rung that it has reached."""


@dataclass(frozen=True)
class RungCount:
    """One rung, and how many trials came to it and went beyond."""

    iteration: int
    reached: int
    went_on: int


@dataclass(frozen=True)
class Pace:
    """How fast trials train; iterations that another trial had trained, which cost nothing, count nowhere."""

    in_reports: float | None
    """Seconds per iteration of one trial in the latest reports; None before the first."""
    per_report: float
    """Iterations between two of these."""
    trained: int
    """Iterations of all trials together since counting began."""

    def seconds_per_iteration(self, elapsed_s: float, concurrent: int) -> float | None:
        """What an iteration of one trial takes, the time between trials included; none before the first report.

        Over the clock it is the time per iteration trained; what is trained and not yet reported is at most a report's
        worth a trial.
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
    """How many trials ended, by status."""
    paused: int
    running: tuple[RunningTrial, ...]
    best: TrialHistory | None
    best_report: Report | None
    default_value: float | None
    """The best value of the default config so far."""
    rungs: tuple[RungCount, ...]
    pace: "Pace"

    @property
    def images_per_second(self) -> float | None:
        """Of all running trials together; None where none reports it."""
        speeds = [trial.images_per_second for trial in self.running if trial.images_per_second is not None]
        return sum(speeds) if speeds else None


class Leader:
    """The best trial so far, as `History.ranked` would have it, without looking at all trials every time."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._best: tuple[float, float, int] | None = self._found()
        """Its standing, which ends with its number."""

    @property
    def number(self) -> int | None:
        """None while no trial can win."""
        return None if self._best is None else self._best[-1]

    def take(self, changed: Sequence[TrialHistory]) -> None:
        """Take in what has happened to some trials."""
        for trial in changed:
            standing = self._standing(trial)
            if self._best is not None and trial.number == self.number and (standing is None or standing > self._best):
                self._best = self._found()  # the leader has failed, say, and another is best
            elif standing is not None and (self._best is None or standing < self._best):
                self._best = standing

    def _found(self) -> tuple[float, float, int] | None:
        best = self._history.best_trial()
        return None if best is None else self._standing(best)

    def _standing(self, trial: TrialHistory) -> tuple[float, float, int] | None:
        standing = self._history.standing(trial)
        return None if standing is None else (*standing, trial.number)


class ProgressCount:
    """Counts a search's trials as they change."""

    def __init__(self, spec: SearchSpec, history: History) -> None:
        """Count what the history holds so far."""
        self._spec, self._history = spec, history
        self._leader = Leader(history)
        self._ended: Counter[str] = Counter()
        self._open: dict[int, TrialHistory] = {}
        self._count_all()
        self._trained = 0

    def take(self, changed: Sequence[TrialHistory]) -> None:
        """Take in what has happened to some trials."""
        self._leader.take(changed)
        self._trained += sum(_trained_since(trial, self._seen.get(trial.number, 0)) for trial in changed)
        if changed and self._first_rung is None and self._spec.scheduler.finds_first_rung:
            self._count_all()  # the first rung may just have been found
            return
        for trial in changed:
            self._count(trial)

    def progress(self) -> Progress:
        """The search as it stands."""
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
        self._first_rung = first_rung(self._spec, self._history)
        self._rungs = rungs_of(self._spec, self._history)
        self._reached: Counter[int] = Counter()
        self._went_on: Counter[int] = Counter()
        self._seen: dict[int, int] = {}
        """The last iteration of every open trial that is counted."""
        self._ended.clear()
        self._counted: set[int] = set()
        """Trials that have ended and are counted."""
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
    """Iterations that were trained for the reports after one at `iteration`."""
    after = [report for report in trial.reports.values() if report.iteration > iteration]
    shared = sum(int(report.metrics.get(ITERATIONS_SHARED, 0)) for report in after)
    return max((report.iteration for report in after), default=iteration) - iteration - shared


def _last_leg(trial: TrialHistory) -> tuple[int, float]:
    """Iterations that were trained for the last report, and the seconds that it took."""
    last = trial.last
    assert last is not None
    before = max((iteration for iteration in trial.reports if iteration < last.iteration), default=0)
    return _trained_since(trial, before), last.seconds
