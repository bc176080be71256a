"""The search: which trial starts next, how reports decide on trials, how trials end. It does not depend on Ray.

The state of a `Search` is a function of its journal: to open a search is to apply all lines of the journal.
Every fact is written to the journal before the search acts on it.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from raysearch.history.events import (
    Begun,
    Ended,
    Event,
    Extended,
    Paused,
    Report,
    Started,
    TakenUp,
    TrialEvent,
    WorkerLost,
)
from raysearch.history.history import History, TrialHistory
from raysearch.history.journal import Record
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.history.records import Fact
from raysearch.schedulers import Decision, Observation, build_scheduler
from raysearch.schedulers.audit import is_audited
from raysearch.search.candidates import Candidates, next_candidate
from raysearch.search.warm_start import read_prior
from raysearch.space.digests import section_digests
from raysearch.space.spec import SearchSpec
from trainables.plurals import counted
from trainables.protocol import DRAWS

MAX_WORKERS_LOST = 3
"""Number of workers that may die during one trial before the trial itself is assumed to be the cause."""


@dataclass(frozen=True)
class Proposal:
    """A trial to start or to continue."""

    trial: TrialHistory
    spec: SearchSpec

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self.trial.number

    @property
    def config(self) -> dict[str, Any]:
        """The nested config of the trial."""
        return self.spec.trial_config({} if self.trial.is_default else self.trial.values)

    @property
    def restorable(self) -> tuple[tuple[int, float, str], ...]:
        """Iteration, value and checkpoint of every report; the trial continues from the newest existing checkpoint."""
        reports = self.trial.reports.values()
        return tuple((r.iteration, r.value, r.checkpoint) for r in reports if r.checkpoint is not None)


class Search:
    """A search that proposes trials, receives their reports, and ends them."""

    def __init__(self, spec: SearchSpec, record: Record, candidates: Candidates = next_candidate) -> None:
        """Open a search on its record; an empty record starts a new search.

        Args:
            spec: The search.
            record: Record of the search: its journal, or a record in memory for a simulation.
            candidates: Function that returns the values of new trials.

        Raises:
            InputError: a line of the journal is damaged, or a new search cannot read the sources of its warm start.
        """
        self.spec = spec
        self.history = History()
        self._record = record
        self._candidates = candidates
        self._scheduler = build_scheduler(spec)
        self._draws = f"{spec.objectives[0].metric}{DRAWS}"
        self._running: dict[int, TrialHistory] = {}
        self._paused: set[int] = set()
        """Numbers of those that are paused."""
        self._changed: set[int] = set()
        """Numbers of the trials with new lines since the last call of `take_changed`."""
        self._decided: dict[int, Ended | Paused] = {}
        """Endings and pauses that follow from the reports but are not written yet, by trial."""
        self._exhausted = False
        """True if no further values were found and no trial has ended since."""
        facts = list(record.facts())
        for fact in facts:
            self._apply(fact)
        if not facts:
            self._begin()
        self._do_what_was_decided()
        self._waiting = [trial.number for trial in self.running if not trial.is_paused]

    def _begin(self) -> None:
        spec, prior = self.spec, read_prior(self.spec)
        first, *others = spec.objectives
        further = [(other.metric, other.mode) for other in others]
        self._write(
            Begun(
                name=spec.name,
                mode=first.mode,
                trials=spec.search.trials,
                evidence=prior.evidence,
                first_points=prior.first_points,
                further=tuple(further),
                sections=section_digests(spec.document),
            )
        )

    @property
    def finished(self) -> bool:
        """True if every trial that may start has ended."""
        return not self._waiting and not self._running and self._may_start == 0

    @property
    def running(self) -> list[TrialHistory]:
        """Trials that were started and have not ended."""
        return list(self._running.values())

    @property
    def _may_start(self) -> int:
        return 0 if self._exhausted else max(0, self.history.target_trials - len(self.history.trials))

    def take_changed(self) -> list[TrialHistory]:
        """Return the trials with new lines in the journal since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return [self.history.trials[number] for number in changed]

    def extend(self, num_trials: int) -> None:
        """Let the search start this many more trials, as if it had been longer from the start.

        Exception: with `form: promotion`, trials that the shorter search promoted or stopped at its end keep that
        decision.
        """
        self._write(Extended(self.history.target_trials + num_trials))

    def retry_failed(self) -> list[int]:
        """Let every failed trial run again once, and return the numbers of the failed trials.

        Optuna's format cannot reopen an ended trial, and the failed trial keeps its row in the tables. The retry is
        therefore a new trial with the same values, which trains from the beginning, and the search may start that many
        more trials.
        """
        numbers = [trial.number for trial in self.history.failed if trial.number not in self.history.to_retry]
        if numbers:
            self._write(Extended(self.history.target_trials + len(numbers), numbers))
        return numbers

    def propose(self) -> Proposal | None:
        """Return the next trial: an interrupted one, else one that a rung promotes, else a new one.

        Returns:
            The trial; None if there is nothing to start. If only paused trials are left and no rung promotes one, even
            beyond its share, the paused trials are ended as stopped.
        """
        if self._waiting:
            return self._proposal(self._waiting.pop(0))
        number = self._scheduler.promotable(self._paused)
        if number is not None:
            return self._take_up(number)
        if self._may_start > 0 and (proposal := self._start()) is not None:
            return proposal
        if not self._paused or len(self._paused) < len(self._running):
            return None
        number = self._scheduler.promotable(self._paused, at_least=1)
        if number is not None:
            return self._take_up(number)
        for number in sorted(self._paused):
            self._end(self.history.trials[number], Ended("stopped"))
        return None

    def _take_up(self, number: int) -> Proposal:
        self._write(TakenUp(), number)
        return self._proposal(number)

    def _start(self) -> Proposal | None:
        """Start a new trial; return None if the space holds no untried values."""
        number = len(self.history.trials)
        found = self._candidates(self.spec, self.history)
        if found is None:
            self._exhausted = True
            return None
        distributions = {parameter.path: parameter.distribution for parameter in self.spec.parameters}
        self._write(
            Started(
                params={p: v for p, v in found.values.items() if p in distributions and _contains(distributions[p], v)},
                distributions=distributions,
                values=found.values,
                is_default=found.is_default,
                is_audited=self._is_audited(number, found.is_default),
                origin=found.origin,
                memory_estimate=found.memory_estimate,
                retry_of=found.retry_of,
                notes=found.notes,
            )
        )
        return self._proposal(number)

    def take(self, number: int, event: TrialEvent) -> Decision:
        """Record an event of a trial and decide on the trial; a trial that is finished is ended at once.

        Events of a trial that has already ended are ignored.
        """
        trial = self.history.trials[number]
        if trial.status == "running":
            match event:
                case Report():
                    self._take_report(trial, event)
                case WorkerLost():
                    self._take_loss(trial, event)
                case Ended():
                    self._end(trial, event)
        if trial.is_paused:
            return Decision.PAUSE
        return Decision.CONTINUE if trial.status == "running" else Decision.STOP

    def _take_report(self, trial: TrialHistory, report: Report) -> None:
        assert not trial.is_paused, "it has no worker that could report"
        for metric, told in self._objectives_told(report):
            if not isinstance(told, int | float):
                error = f"it reported no number as {metric} at iteration {report.iteration}"
                return self._end(trial, Ended("failed", error))
            if not math.isfinite(told):
                return self._end(trial, Ended("infeasible", f"{metric} is {told} at iteration {report.iteration}"))
        if self.spec.constraints:
            reported = {**self._measured(report), self.spec.objectives[0].metric: report.value}
            report = replace(report, violations=self.spec.violations(trial.values, reported))
        self._write(report, trial.number)
        return self._do_what_was_decided()

    def _take_loss(self, trial: TrialHistory, lost: WorkerLost) -> None:
        """Let the trial continue from its last checkpoint on another worker, up to a limit."""
        self._write(replace(lost, times=trial.workers_lost + 1), trial.number)
        if trial.workers_lost >= MAX_WORKERS_LOST:
            error = f"its worker died {counted(trial.workers_lost, 'time')}; the last time: {lost.error}"
            self._end(trial, Ended("failed", error))
        else:
            self._waiting.append(trial.number)

    def _end(self, trial: TrialHistory, ended: Ended) -> None:
        if ended.status == "completed" and not trial.reports:
            error = f"it ended without reporting {self.spec.objectives[0].metric}"
            ended = replace(ended, status="failed", error=error)
        self._exhausted = False  # the trial's memory may show that others fit
        values, broken = self.history.values_of(trial), trial.broken(self.history.mode)
        self._write(replace(ended, values=values, broken=broken), trial.number)

    def _objectives_told(self, report: Report) -> list[tuple[str, Any]]:
        """Return the metric and the value of every objective in a report."""
        first, *others = self.spec.objectives
        measured = self._measured(report) if others else {}
        return [(first.metric, report.value), *((other.metric, measured.get(other.metric)) for other in others)]

    @staticmethod
    def _measured(report: Report) -> dict[str, Any]:
        return {**report.metrics, PEAK_MEMORY: report.peak_memory_bytes}

    def _is_audited(self, number: int, is_default: bool) -> bool:
        """Return True if the trial is audited: it trains on where the scheduler would stop it.

        The default trial is never stopped either, but does not count as audited.
        """
        settings = self.spec.scheduler
        may_be_stopped = settings.name != "none" and not is_default
        return may_be_stopped and is_audited(self.spec.search.seed, number, settings.audit_fraction)

    def _proposal(self, number: int) -> Proposal:
        return Proposal(self.history.trials[number], self.spec)

    def _write(self, event: Event, number: int | None = None) -> None:
        for fact in self._record.write(event, number):
            self._apply(fact)

    def _apply(self, fact: Fact) -> None:
        """Apply one line of the record; all state of this object changes here."""
        num_known = len(self.history.trials)
        self.history.apply(fact)
        if fact.trial is None:
            for trial in self.history.trials[num_known:]:
                self._running[trial.number] = trial
                self._changed.add(trial.number)
            return
        self._changed.add(fact.trial)
        match fact.event:
            case Paused():
                self._decided.pop(fact.trial, None)
                self._paused.add(fact.trial)
            case TakenUp():
                self._decided.pop(fact.trial, None)
                self._paused.discard(fact.trial)
            case Ended():
                self._decided.pop(fact.trial, None)
                self._running.pop(fact.trial, None)
                self._paused.discard(fact.trial)
            case Report() as report:
                self._judge(fact.trial, report)

    def _judge(self, number: int, report: Report) -> None:
        """Pass a report to the scheduler, and note the decision on its trial."""
        trial = self.history.trials[number]
        max_iters = self.spec.max_iters
        losses = self.history.losses(self.history.values_at(trial, report))
        draws = report.metrics.get(self._draws, ())
        decision = self._scheduler.observe(Observation(number, report.iteration, losses, draws))
        if report.done or (max_iters is not None and report.iteration >= max_iters):
            self._decided[number] = Ended("completed")
        elif trial.is_default or trial.is_audited:
            return
        elif decision is Decision.STOP:
            self._decided[number] = Ended("stopped")
        elif decision is Decision.PAUSE and not self._would_be_promoted(number):
            self._decided[number] = Paused()

    def _would_be_promoted(self, number: int) -> bool:
        """Return True if a trial would be promoted at once if it paused."""
        self._paused.add(number)
        promoted = self._scheduler.promotable(self._paused)
        self._paused.remove(number)
        return promoted == number

    def _do_what_was_decided(self) -> None:
        """Write the endings and pauses that follow from the reports, including those that a kill prevented earlier."""
        if not self._decided:
            return
        for number, event in sorted(self._decided.items(), key=lambda item: item[0]):
            if isinstance(event, Paused):
                self._write(event, number)
            elif number in self._running:
                self._end(self.history.trials[number], event)


def _contains(distribution: Any, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False
