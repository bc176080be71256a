"""The loop of a search, in the form in which executors call it: it proposes, takes events, halts and ends.

Whatever an executor does with threads, processes or virtual time, every decision is made here, once.
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
    """The search cannot go on without losing what happens. It leaves any executor at once, past its own handlers."""

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
        """Run what is left of a search.

        Args:
            search: The search.
            assign: Turns a proposal into what a worker needs.
            watch: Called several times a second with the trials that have changed since the last call. It may raise to
                end the loop.
        """
        self._search = search
        self._assign = assign
        self._watch = watch
        self._alike = FailuresAlike(search.spec, search.history)

    @property
    def finished(self) -> bool:
        """Return True once every trial that may start has ended."""
        return self._search.finished

    def next(self) -> Assignment | None:
        """Return the next trial; None while trials must end first, and at the end of the search."""
        try:
            proposal = self._search.propose()
        except OSError as error:
            raise _halted(error) from error
        return None if proposal is None else self._assign(proposal)

    def take(self, number: int, event: Report | Ended | Halted) -> Decision:
        """Record what happened to a trial and decide on it.

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
        """Record that the worker of a trial died; the trial goes on with another one, a few times."""
        trial = self._search.history.trials[number]
        if out_of_memory:
            self._record(number, Ended("infeasible", error, needed_memory_bytes=trial.peak_memory_bytes or 0))
            return
        if trial.workers_lost + 1 >= MAX_WORKERS_LOST:
            self._halt_where_alike(number, error)
        self._record(number, WorkerLost(error))

    def tick(self) -> None:
        """Tell the watcher which trials have changed."""
        self._watch(self._search.take_changed())

    def _halt_where_alike(self, number: int, error: str) -> None:
        """Halt before a trial is recorded as failed that fails as those before it did."""
        halted = self._alike.add(self._search.history.trials[number], error)
        if halted is not None:
            raise SearchHalted(halted)

    def _record(self, number: int, event: TrialEvent) -> Decision:
        try:
            return self._search.take(number, event)
        except OSError as error:
            raise _halted(error) from error


def _halted(error: OSError) -> SearchHalted:
    """Return the halt of a search whose journal cannot be written."""
    fix = "make room" if error.errno in environment.FULL else "make it writable again"
    return SearchHalted(Halted(f"the journal cannot be written: {error.strerror}", fix))
