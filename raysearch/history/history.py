"""The history of a search: its trials and their reports, read from the journal."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

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
from raysearch.history.journal import read_facts
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.history.records import Fact, fact_of
from trainables.protocol import ITERATIONS_SHARED


@dataclass(frozen=True)
class Leg:
    """A period in which one worker trained a trial."""

    worker: str
    """Host name and process number of the worker."""
    begin: float
    """Unix time, in seconds."""
    end: float


_ONE_LEG_S = 2.0
"""Longest gap between two periods of one worker that count as one period; a report may take this long to arrive."""


class _Extremes(NamedTuple):
    """The reports of a trial that are asked for again and again."""

    lowest: Report
    highest: Report
    last: Report

    @classmethod
    def of(cls, reports: Iterable[Report]) -> "_Extremes":
        """Return the extremes of some reports; the earliest of several with equal values."""
        known = list(reports)
        return cls(
            lowest=min(known, key=lambda report: (report.value, report.iteration)),
            highest=min(known, key=lambda report: (-report.value, report.iteration)),
            last=max(known, key=lambda report: report.iteration),
        )


@dataclass
class TrialHistory:
    """Everything that is known about one trial."""

    number: int
    params: dict[str, Any]
    """Searched values within their distributions; Optuna sees these."""
    values: dict[str, Any]
    """Searched values that the trial trains with, by dotted path."""
    distributions: dict[str, BaseDistribution]
    started: float
    """Unix time, in seconds."""
    is_default: bool
    is_audited: bool = False
    """True if the trial continues where it would be stopped, so that early stopping can be audited."""
    reports: dict[int, Report] = field(default_factory=dict)
    """Reports by iteration; a repeated report replaces the earlier one."""
    status: Status = "running"
    error: str | None = None
    ended: float | None = None
    end_order: int | None = None
    """Number of trials that had ended or paused before this trial first did so."""
    is_paused: bool = False
    """True if the trial waits at a rung for promotion; its status is still running."""
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """Memory that the trial could use."""
    needed_memory_bytes: int | None = None
    """Least amount of memory that the trial needs; None if it did not run out of memory."""
    excess: float | None = None
    """Memory needed beyond the limit, as a fraction of the limit; None if it is unknown or there was enough."""
    memory_estimate: tuple[str, float] | None = None
    """Name and size of the config's own estimate of its memory."""
    workers_lost: int = 0
    origin: str | None = None
    """Description of where the values come from; None if an algorithm proposed them."""
    retry_of: int | None = None
    """Number of the failed trial whose values this trial repeats."""
    is_retried: bool = False
    """True if the trial failed and another trial repeats its values."""
    legs: list[Leg] = field(default_factory=list)
    """Periods in which workers trained the trial, up to its last report; empty in journals of version 0.1."""
    sampler_notes: Mapping[str, Any] = field(default_factory=dict)
    """System attributes that a sampler of Optuna stored in the trial when it proposed it."""
    _extremes: _Extremes | None = field(default=None, init=False, repr=False, compare=False)
    """Extremes of the reports if all of them were added by `add`."""

    def add(self, report: Report) -> None:
        """Add a report, or replace that of its iteration."""
        is_first, is_repeated = not self.reports, report.iteration in self.reports
        self.reports[report.iteration] = report
        if is_first:
            self._extremes = _Extremes(report, report, report)
        elif self._extremes is not None and not is_repeated:
            self._extremes = _Extremes.of((*self._extremes, report))
        elif self._extremes is not None:
            self._extremes = _Extremes.of(self.reports.values())

    @property
    def violation(self) -> float:
        """Violation of the feasibility constraint; 0 unless the trial was infeasible."""
        if self.status != "infeasible":
            return 0.0
        return UNKNOWN_VIOLATION if self.excess is None else self.excess

    @property
    def effective_status(self) -> Status:
        """Status of the trial, but `stopped` while it is paused: a paused trial may never be promoted."""
        return "stopped" if self.is_paused else self.status

    @property
    def last(self) -> Report | None:
        """Report of the latest iteration."""
        return self._known_extremes().last if self.reports else None

    def broken(self, mode: Mode) -> dict[str, float]:
        """Return the constraints that the trial's best report violates, with the violations."""
        best = self.best(mode)
        return {} if best is None else {text: amount for text, amount in best.violations.items() if amount > 0.0}

    @property
    def iterations_shared(self) -> int:
        """Number of the trial's iterations that were not trained because another trial had trained them already."""
        return sum(int(report.metrics.get(ITERATIONS_SHARED, 0)) for report in self.reports.values())

    def best(self, mode: Mode) -> Report | None:
        """Return the report with the best value, the earliest if several are equal."""
        if not self.reports:
            return None
        extremes = self._known_extremes()
        return extremes.lowest if mode == "min" else extremes.highest

    def _known_extremes(self) -> _Extremes:
        return _Extremes.of(self.reports.values()) if self._extremes is None else self._extremes


class Index(Protocol):
    """A view of a history that is kept up to date, so that it need not be computed anew from all trials."""

    def take(self, trial: TrialHistory) -> None:
        """Take in the present state of a trial that is new or has changed."""
        ...


IndexT = TypeVar("IndexT", bound=Index)


class History:
    """The state of a search after the lines of its journal that have been applied."""

    def __init__(self) -> None:
        self.trials: list[TrialHistory] = []
        self.evidence: list[TrialHistory] = []
        """Ended trials of earlier searches, numbered below 0. Algorithms learn from them; nothing else counts them."""
        self.first_points: list[FirstPoint] = []
        self.mode: Mode = "max"
        """Mode of the first objective."""
        self.further: tuple[tuple[str, Mode], ...] = ()
        """Metric and mode of every objective after the first."""
        self.target_trials: int = 0
        self.sections: Mapping[str, str] = {}
        """Digest of every section of the space file that shapes the search, by name; empty if it was not recorded."""
        self.to_retry: list[int] = []
        """Numbers of failed trials whose values are tried again before any proposal."""
        self.sampler_notes: dict[str, Any] = {}
        """System attributes that a sampler of Optuna stored in the study."""
        self.name: str = ""
        self._num_ended = 0
        self._indexes: dict[tuple[Any, ...], tuple[Index, tuple[Any, ...]]] = {}
        """Indexes by kind and identities of what they are about, which are stored with them to stay unique."""

    def index(self, kind: Callable[..., IndexT], *about: Any) -> IndexT:
        """Return the index of a kind, `kind(history, *about)`; it is created once, and `apply` keeps it up to date."""
        key = kind, *map(id, about)
        if key not in self._indexes:
            created = kind(self, *about)
            for trial in self.known_trials:
                created.take(trial)
            self._indexes[key] = created, about
        return cast(IndexT, self._indexes[key][0])

    def add(self, trial: TrialHistory) -> None:
        """Add a trial after all others."""
        self.trials.append(trial)
        self._tell_indexes(trial)

    def _tell_indexes(self, trial: TrialHistory) -> None:
        for index, _ in self._indexes.values():
            index.take(trial)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Mode of every objective."""
        return (self.mode, *(mode for _, mode in self.further))

    def apply(self, fact: Fact) -> None:
        """Update the history by one line of the journal."""
        match fact.event:
            case Begun() as begun:
                self.name, self.mode, self.further = begun.name, begun.mode, tuple(begun.further)
                self.target_trials, self.sections = begun.trials, begun.sections
                self.evidence = _replayed(begun)
                self.first_points = list(begun.first_points)
            case Extended(trials, retry):
                self.target_trials = trials
                self.to_retry += retry
            case Started() as started:
                self._start(started, fact.time)
            case _ if fact.trial is not None:
                self._apply_to(self.trials[fact.trial], fact)
                self._tell_indexes(self.trials[fact.trial])

    def _start(self, started: Started, time: float) -> None:
        self.add(
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
            self._tell_indexes(self.trials[started.retry_of])

    def _apply_to(self, trial: TrialHistory, fact: Fact) -> None:
        match fact.event:
            case Report() as report:
                trial.add(report)
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
        """Remove a failed trial from the queue of retries; the retry of the default trial becomes the default trial."""
        self.to_retry.remove(failed.number)
        failed.is_retried, failed.is_default = True, False

    def _note_order(self, trial: TrialHistory) -> None:
        if trial.end_order is None:
            trial.end_order = self._num_ended
            self._num_ended += 1

    @property
    def is_finished(self) -> bool:
        """True if every trial that may start has started and ended."""
        ended = all(trial.status != "running" for trial in self.trials)
        return ended and len(self.trials) >= self.target_trials > 0

    @property
    def failed(self) -> list[TrialHistory]:
        """Trials that failed and were not retried."""
        return [trial for trial in self.trials if trial.status == "failed" and not trial.is_retried]

    @property
    def known_trials(self) -> list[TrialHistory]:
        """Trials that an algorithm may learn from: the evidence, then the search's own trials."""
        return [*self.evidence, *self.trials]

    @property
    def iterations_shared(self) -> tuple[int, int]:
        """Number of iterations that another trial had trained already, and number of iterations of all trials."""
        whole = sum(trial.last.iteration for trial in self.trials if trial.last)
        return sum(trial.iterations_shared for trial in self.trials), whole

    def best_trial(self) -> TrialHistory | None:
        """Return the best trial by the order of `ranked`; None if no trial can win."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[TrialHistory]:
        """Return the trials that can win, the best first, ordered by their best reports and then by their numbers.

        Trials that violate a constraint on reported metrics come after all trials that satisfy every constraint. Among
        those, the least violation comes first.
        """
        standings = ((self.standing(trial), trial) for trial in self.trials)
        can_win = [(standing, trial) for standing, trial in standings if standing is not None]
        return [trial for _, trial in sorted(can_win, key=lambda pair: pair[0])]

    def standing(self, trial: TrialHistory) -> tuple[float, float] | None:
        """Return the violation and the loss by which a trial is ranked (smaller is better); None if it cannot win."""
        best = trial.best(self.mode)
        if best is None or trial.status in ("failed", "infeasible"):
            return None
        return sum(trial.broken(self.mode).values()), best.value if self.mode == "min" else -best.value

    def values_of(self, trial: TrialHistory) -> tuple[float, ...] | None:
        """Return a trial's objectives at its best report by the first objective."""
        best = trial.best(self.mode)
        return None if best is None else self.values_at(trial, best)

    def values_at(self, trial: TrialHistory, report: Report) -> tuple[float, ...]:
        """Return a trial's objectives at one of its reports; peak memory is always that of the whole trial."""
        if not self.further:
            return (report.value,)
        measured: dict[str, Any] = {**report.metrics, PEAK_MEMORY: trial.peak_memory_bytes}
        return (report.value, *(float(measured[metric]) for metric, _ in self.further))

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return the objectives as losses, that is, with the sign for which smaller is better."""
        return tuple([value if mode == "min" else -value for value, mode in zip(values, self.modes, strict=True)])

    def is_admissible(self, trial: TrialHistory) -> bool:
        """Return True if a trial can win and satisfies every constraint on reported metrics."""
        standing = self.standing(trial)
        return standing is not None and standing[0] == 0.0


def _replayed(begun: Begun) -> list[TrialHistory]:
    """Return the evidence of a search as ended trials with numbers below 0."""
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
    """Return the history that a journal records; the file is only read.

    Raises:
        InputError: there is no journal, or a line in it is damaged.
    """
    history = History()
    for fact in read_facts(path):
        history.apply(fact)
    return history
