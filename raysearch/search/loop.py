"""The loop of a search, as executors call it: it proposes trials, receives events, halts and ends.

All decisions are made here, whether an executor uses threads, processes or virtual time.
"""

import logging
from collections.abc import Callable, Sequence

from raysearch.history.events import Ended, Halted, Report, TrialEvent, WorkerLost
from raysearch.history.history import TrialHistory
from raysearch.schedulers import Decision
from raysearch.search import environment
from raysearch.search.environment import FailuresAlike
from raysearch.search.search import MAX_WORKERS_LOST, Proposal, Search
from raysearch.search.work import Assignment

_log = logging.getLogger("raysearch")


class SearchHalted(BaseException):
    """The search cannot continue until a fault is fixed. The exception passes all handlers of `Exception`."""

    def __init__(self, halted: Halted) -> None:
        super().__init__(halted.what)
        self.halted = halted


class SearchLoop:
    """A search as the work of an executor."""

    def __init__(
        self,
        search: Search,
        assign: Callable[[Proposal], Assignment],
        watch: Callable[[Sequence[TrialHistory]], None],
    ) -> None:
        """Prepare the rest of a search.

        Args:
            search: The search.
            assign: Function that turns a proposal into an assignment for a worker.
            watch: Function that is called several times a second with the trials that have changed since the last call.
                It may raise an exception to end the loop.
        """
        self._search = search
        self._assign = assign
        self._watch = watch
        self._alike = FailuresAlike(search.spec, search.history)

    @property
    def finished(self) -> bool:
        """True if every trial that may start has ended."""
        return self._search.finished

    def next(self) -> Assignment | None:
        """Return the next trial; None if a running trial must end first, or if no trial is left."""
        try:
            proposal = self._search.propose()
        except OSError as error:
            raise _halted(error) from error
        return None if proposal is None else self._assign(proposal)

    def take(self, number: int, event: Report | Ended | Halted) -> Decision:
        """Record an event of a trial and decide on the trial.

        Raises:
            SearchHalted: every other trial would fail for the same reason, or the journal cannot be written.
        """
        if isinstance(event, Ended | Halted) and event.details is not None:
            _log.error("trial %d failed\n%s", number, event.details)
        if isinstance(event, Halted):
            raise SearchHalted(event)
        has_failed = isinstance(event, Ended) and event.status == "failed"
        if isinstance(event, Ended) and has_failed:
            self._halt_where_alike(number, event.error or "")
        decision = self._record(number, event)
        if decision is not Decision.CONTINUE and not has_failed:
            self._alike.reset()
        return decision

    def lost(self, number: int, error: str, *, out_of_memory: bool = False) -> None:
        """Record that the worker of a trial died.

        If it ran out of memory, the trial ends as infeasible. Otherwise the trial continues on another worker, unless
        too many of its workers have died.

        Raises:
            SearchHalted: as in `take`.
        """
        trial = self._search.history.trials[number]
        if out_of_memory:
            self._record(number, Ended("infeasible", error, needed_memory_bytes=trial.peak_memory_bytes or 0))
            return
        if trial.workers_lost + 1 >= MAX_WORKERS_LOST:
            self._halt_where_alike(number, error)
        self._record(number, WorkerLost(error))

    def tick(self) -> None:
        """Pass the trials that have changed to the watcher."""
        self._watch(self._search.take_changed())

    def _halt_where_alike(self, number: int, error: str) -> None:
        """Halt the search, before a failed trial is recorded, if it failed for the same reason as those before it."""
        halted = self._alike.add(self._search.history.trials[number], error)
        if halted is not None:
            raise SearchHalted(halted)

    def _record(self, number: int, event: TrialEvent) -> Decision:
        try:
            return self._search.take(number, event)
        except OSError as error:
            raise _halted(error) from error


def _halted(error: OSError) -> SearchHalted:
    """Return the halt of a search whose record cannot be written: its journal, or a file that the error names."""
    fix = "free some disk space" if error.errno in environment.FULL else "make it writable again"
    return SearchHalted(Halted(f"{error.filename or 'the journal'} cannot be written: {error.strerror}", fix))
