"""The history of a search: its trials and their reports, read out of the journal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from raysearch.history.events import (
    UNKNOWN_VIOLATION,
    Begun,
    Ended,
    Extended,
    FirstPoint,
    Mode,
    Paused,
    Report,
    Started,
    Status,
    TakenUp,
    WorkerLost,
)
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.history.records import Fact, fact_of, read_facts
from trainables.protocol import ITERATIONS_SHARED


@dataclass(frozen=True)
class Leg:
    """A stretch of time in which a worker was busy with a trial."""

    worker: str
    """Where the process ran, and its number."""
    begin: float
    """Unix time, in seconds."""
    end: float


_ONE_LEG_S = 2.0
"""Time between two stretches of a worker's that are one: so long may a report be on its way."""


@dataclass
class TrialHistory:
    """All that is known of one trial."""

    number: int
    params: dict[str, Any]
    """The searched values that lie in their distributions: what Optuna sees."""
    values: dict[str, Any]
    """The searched values the trial trains with, by dotted path."""
    distributions: dict[str, BaseDistribution]
    started: float
    """Unix time, in seconds."""
    is_default: bool
    is_audited: bool = False
    """Let through past every stop, so that the stops can be audited."""
    reports: dict[int, Report] = field(default_factory=dict)
    """By iteration; a repeated report replaces the earlier."""
    status: Status = "running"
    error: str | None = None
    ended: float | None = None
    end_order: int | None = None
    """How many trials had ended, or paused, before it first did either."""
    is_paused: bool = False
    """Waits at a rung for being let on; its status is still running."""
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """What it could have taken."""
    needed_memory_bytes: int | None = None
    """Where it ran out of memory: it needs at least so much; None where it did not."""
    excess: float | None = None
    """Where it was infeasible: how far it went beyond what there was, relative to that, if that is known."""
    memory_estimate: tuple[str, float] | None = None
    """What its config said that its memory grows with."""
    workers_lost: int = 0
    origin: str | None = None
    """Where the values come from, where no algorithm proposed them."""
    retry_of: int | None = None
    """Number of the failed trial whose values it has."""
    is_retried: bool = False
    """It failed, and another trial has its values."""
    legs: list[Leg] = field(default_factory=list)
    """Which workers were busy with it when, up to its last report; empty in journals of before."""
    sampler_notes: Mapping[str, Any] = field(default_factory=dict)
    """What a sampler of Optuna noted in it when it proposed it."""

    @property
    def violation(self) -> float:
        """By how much it violates the constraint to be feasible: 0 unless it was infeasible."""
        if self.status != "infeasible":
            return 0.0
        return UNKNOWN_VIOLATION if self.excess is None else self.excess

    @property
    def effective_status(self) -> Status:
        """The status, or that of a stopped trial while it is paused: what it is unless it is taken up again."""
        return "stopped" if self.is_paused else self.status

    @property
    def last(self) -> Report | None:
        """The report of the latest iteration."""
        return self.reports[max(self.reports)] if self.reports else None

    def broken(self, mode: Mode) -> dict[str, float]:
        """The constraints on what is reported that its best report does not hold, with the violated amounts."""
        best = self.best(mode)
        return {} if best is None else {text: amount for text, amount in best.violations.items() if amount > 0.0}

    @property
    def iterations_shared(self) -> int:
        """Training iterations that another trial had trained already."""
        return sum(int(report.metrics.get(ITERATIONS_SHARED, 0)) for report in self.reports.values())

    def best(self, mode: Mode) -> Report | None:
        """The report with the best value; the earliest of equals."""
        if not self.reports:
            return None
        sign = 1.0 if mode == "min" else -1.0
        return min(self.reports.values(), key=lambda report: (sign * report.value, report.iteration))


class History:
    """The search so far, as the lines of its journal tell it."""

    def __init__(self) -> None:
        self.trials: list[TrialHistory] = []
        self.evidence: list[TrialHistory] = []
        """Ended trials of earlier searches, which algorithms learn from and nothing else counts; numbered below 0."""
        self.first_points: list[FirstPoint] = []
        self.mode: Mode = "max"
        """Of the objective; of several, of the first."""
        self.further: tuple[tuple[str, Mode], ...] = ()
        """Metric and mode of every objective after the first."""
        self.target_trials: int = 0
        self.to_retry: list[int] = []
        """Numbers of failed trials whose values are to be tried again, before anything is proposed."""
        self.sampler_notes: dict[str, Any] = {}
        """What a sampler of Optuna has noted in the study."""
        self.name: str = ""
        self._num_ended = 0

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Of every objective."""
        return (self.mode, *(mode for _, mode in self.further))

    def apply(self, fact: Fact) -> None:
        """Take in what one line of the journal records."""
        match fact.event:
            case Begun() as begun:
                self.name, self.mode, self.further = begun.name, begun.mode, tuple(begun.further)
                self.target_trials = begun.trials
                self.evidence = _replayed(begun)
                self.first_points = list(begun.first_points)
            case Extended(trials, retry):
                self.target_trials = trials
                self.to_retry += retry
            case Started() as started:
                self._start(started, fact.time)
            case _ if fact.trial is not None:
                self._apply_to(self.trials[fact.trial], fact)

    def _start(self, started: Started, time: float) -> None:
        self.trials.append(
            TrialHistory(
                number=len(self.trials),
                params=dict(started.params),
                values=dict(started.values),
                distributions=dict(started.distributions),
                started=time,
                is_default=started.is_default,
                is_audited=started.is_audited,
                origin=started.origin,
                memory_estimate=started.memory_estimate,
                retry_of=started.retry_of,
                sampler_notes={} if started.notes is None else started.notes.of_trial,
            )
        )
        if started.notes is not None:
            self.sampler_notes |= started.notes.of_study
        if started.retry_of is not None:
            self._replace_by_retry(self.trials[started.retry_of])

    def _apply_to(self, trial: TrialHistory, fact: Fact) -> None:
        match fact.event:
            case Report() as report:
                trial.reports[report.iteration] = report
                if report.worker is not None:
                    _add_leg(trial.legs, Leg(report.worker, fact.time - report.seconds, fact.time))
                trial.peak_memory_bytes = _largest(trial.peak_memory_bytes, report.peak_memory_bytes)
                if report.memory_limit_bytes is not None:
                    trial.memory_limit_bytes = report.memory_limit_bytes
            case WorkerLost(times=times):
                trial.workers_lost = times
            case Paused():
                trial.is_paused = True
                self._note_order(trial)
            case TakenUp():
                trial.is_paused = False
            case Ended() as ended:
                trial.status, trial.error, trial.ended = ended.status, ended.error, fact.time
                trial.peak_memory_bytes = _largest(trial.peak_memory_bytes, ended.peak_memory_bytes)
                trial.needed_memory_bytes, trial.excess = ended.needed_memory_bytes, ended.excess
                trial.is_paused = False
                self._note_order(trial)

    def _replace_by_retry(self, failed: TrialHistory) -> None:
        """Take a failed trial out of the queue; where it was the default trial, the retry is that now."""
        self.to_retry.remove(failed.number)
        failed.is_retried, failed.is_default = True, False

    def _note_order(self, trial: TrialHistory) -> None:
        if trial.end_order is None:
            trial.end_order = self._num_ended
            self._num_ended += 1

    @property
    def is_finished(self) -> bool:
        """Return True if every trial that may start has started and ended."""
        ended = all(trial.status != "running" for trial in self.trials)
        return ended and len(self.trials) >= self.target_trials > 0

    @property
    def failed(self) -> list[TrialHistory]:
        """The trials that failed and were not run again."""
        return [trial for trial in self.trials if trial.status == "failed" and not trial.is_retried]

    @property
    def known_trials(self) -> list[TrialHistory]:
        """All that an algorithm may learn from: the evidence, then the search's own trials."""
        return [*self.evidence, *self.trials]

    @property
    def iterations_shared(self) -> tuple[int, int]:
        """Training iterations that no trial had to train again, and iterations of all trials."""
        whole = sum(trial.last.iteration for trial in self.trials if trial.last)
        return sum(trial.iterations_shared for trial in self.trials), whole

    def best_trial(self) -> TrialHistory | None:
        """The first of `ranked`."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[TrialHistory]:
        """The trials that can win, the best first: by their best reports, the earlier of equals first.

        A trial that breaks a constraint on what is reported comes after all that hold every one; of those that break
        some, the least violation comes first.
        """
        standings = ((self.standing(trial), trial) for trial in self.trials)
        can_win = [(standing, trial) for standing, trial in standings if standing is not None]
        return [trial for _, trial in sorted(can_win, key=lambda pair: pair[0])]

    def standing(self, trial: TrialHistory) -> tuple[float, float] | None:
        """What a trial is ranked by, small is good: its violation, its loss; None where it cannot win."""
        best = trial.best(self.mode)
        if best is None or trial.status in ("failed", "infeasible"):
            return None
        return sum(trial.broken(self.mode).values()), best.value if self.mode == "min" else -best.value

    def values_of(self, trial: TrialHistory) -> tuple[float, ...] | None:
        """A trial's objectives, at the report that counts: the one that is best in the first objective."""
        best = trial.best(self.mode)
        return None if best is None else self.values_at(trial, best)

    def values_at(self, trial: TrialHistory, report: Report) -> tuple[float, ...]:
        """A trial's objectives at one of its reports; its peak memory, which only grows, is that of all of them."""
        measured: dict[str, Any] = {**report.metrics, PEAK_MEMORY: trial.peak_memory_bytes}
        return (report.value, *(float(measured[metric]) for metric, _ in self.further))

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """The objectives as losses, of which small is good."""
        return tuple(value if mode == "min" else -value for value, mode in zip(values, self.modes, strict=True))

    def is_admissible(self, trial: TrialHistory) -> bool:
        """Whether a trial can win and holds every constraint on what is reported."""
        standing = self.standing(trial)
        return standing is not None and standing[0] == 0.0


def _replayed(begun: Begun) -> list[TrialHistory]:
    """Return the trials that a search begins with as evidence, as if they were those of a search before it."""
    earlier = History()
    if begun.evidence:
        earlier.apply(Fact(replace(begun, evidence=(), first_points=()), None, 0.0))
    for record in begun.evidence:
        if (fact := fact_of(record)) is not None:
            earlier.apply(fact)
    for trial in earlier.trials:
        assert trial.end_order is not None, "evidence has ended"
        trial.number -= len(earlier.trials)
        trial.end_order -= len(earlier.trials)
    return earlier.trials


def _add_leg(legs: list[Leg], leg: Leg) -> None:
    if legs and legs[-1].worker == leg.worker and leg.begin - legs[-1].end <= _ONE_LEG_S:
        legs[-1] = replace(legs[-1], end=leg.end)
    else:
        legs.append(leg)


def _largest(known: int | None, new: int | None) -> int | None:
    return max((n for n in (known, new) if n is not None), default=None)


def read_history(path: Path) -> History:
    """The search that a journal records, read without touching it.

    Raises:
        InputError: there is no journal, or a line in it is damaged.
    """
    history = History()
    for fact in read_facts(path):
        history.apply(fact)
    return history
