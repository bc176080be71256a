"""Tune's side of a search: a Searcher that suggests, and a scheduler that hands every event to the search."""

import contextlib
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raysearch.execution import environment
from raysearch.execution.environment import FailuresAlike
from raysearch.execution.trial_actor import EVENT
from raysearch.history.events import Ended, Halted, TrialEvent, WorkerLost
from raysearch.schedulers import Decision
from raysearch.search.search import MAX_WORKERS_LOST, Proposal, Search

_log = logging.getLogger("raysearch")


class SearchHalted(BaseException):
    """The search cannot go on without losing what happens; leaves Tune's loop at once, past its own handlers."""

    def __init__(self, halted: Halted) -> None:
        super().__init__(halted.what)
        self.halted = halted


@contextlib.contextmanager
def _halting() -> Iterator[None]:
    """Stop the search when its journal cannot be written."""
    try:
        yield
    except OSError as error:
        fix = "make room" if error.errno in environment.FULL else "make it writable again"
        raise SearchHalted(Halted(f"the journal cannot be written: {error.strerror}", fix)) from error


class JournalSearcher(Searcher):
    """Tune's view of the search: it only suggests."""

    def __init__(self, search: Search, start: Callable[[Proposal], dict[str, Any]]) -> None:
        """`start` turns a proposal into the config that the wrapper reads."""
        super().__init__(metric=None, mode=None)
        self._search = search
        self._start = start

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the next trial; FINISHED at the end of the search; None while trials must end first."""
        with _halting():
            proposal = self._search.propose()
        if proposal is not None:
            return self._start(proposal)
        return Searcher.FINISHED if self._search.finished else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler hears of it first, with more to know."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JournalScheduler(FIFOScheduler):
    """Tune's view of the search: every report and every ending passes through here into the journal."""

    def __init__(self, search: Search) -> None:
        """Take reports for `search`."""
        super().__init__()
        self._search = search
        self._stopped: set[str] = set()
        """Tune's trials that were told to stop: each is one leg of a trial of the search, which may pause."""
        self._alike = FailuresAlike(search.spec, search.history)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Write the report down and decide on it."""
        if self._take(trial, result) is Decision.CONTINUE:
            return str(TrialScheduler.CONTINUE)
        self._stopped.add(trial.trial_id)
        return str(TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Write a last report down; Tune brings results that say `done` here only, and stopped ones once more."""
        if trial.trial_id not in self._stopped:
            self._take(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial's worker is gone: the wrapper reports every other trouble itself."""
        if trial.trial_id in self._stopped:
            return  # the search needs this worker no more: the trial has ended, or pauses
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if isinstance(error, ray.exceptions.OutOfMemoryError) or "running low on memory" in str(error):
            what = "out of memory: the machine ran low and Ray ended the worker"
            peak = self._search.history.trials[_number(trial)].peak_memory_bytes
            self._record(_number(trial), Ended("infeasible", what, needed_memory_bytes=peak or 0))
        else:
            if self._search.history.trials[_number(trial)].workers_lost + 1 >= MAX_WORKERS_LOST:
                self._halt_where_alike(_number(trial), lines[-1])
            self._record(_number(trial), WorkerLost(lines[-1]))

    def _halt_where_alike(self, number: int, error: str) -> None:
        """Stop the search before a trial is recorded as failed that fails as those before it did."""
        halted = self._alike.add(self._search.history.trials[number], error)
        if halted is not None:
            raise SearchHalted(halted)

    def _take(self, trial: Any, result: dict[str, Any]) -> Decision:
        number, event = _number(trial), result[EVENT]
        if isinstance(event, Ended | Halted) and event.details is not None:
            _log.error("trial %d failed\n%s", number, event.details)
        if isinstance(event, Halted):
            raise SearchHalted(event)
        has_failed = isinstance(event, Ended) and event.status == "failed"
        if has_failed:
            self._halt_where_alike(number, event.error or "")
        decision = self._record(number, event)
        if decision is not Decision.CONTINUE and not has_failed:
            self._alike.reset()
        return decision

    def _record(self, number: int, event: TrialEvent) -> Decision:
        with _halting():
            return self._search.take(number, event)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _number(trial: Any) -> int:
    return int(trial.config["number"])
