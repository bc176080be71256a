"""The order that the events of a journal keep: a search begins once, and a trial starts, reports and ends once.

Checksums find every change of a journal that has them. In lines of version 0.2 and before, which have none, a line that
is missing or was moved is found only if the order of the others shows it.
"""

from raysearch.history.events import Begun, Ended, Extended, Paused, Report, Started, TakenUp, WorkerLost
from raysearch.history.records import Fact


class MisplacedEvent(ValueError):
    """An event that cannot follow those before it; the message continues `line N …`."""


class EventOrder:
    """A reader of events that refuses one that cannot follow those before it."""

    def __init__(self) -> None:
        """Start before the first event."""
        self._has_begun = False
        self._running: list[bool] = []
        """Whether each trial is running, by number."""
        self._failed: set[int] = set()
        self._to_retry: set[int] = set()

    def take(self, fact: Fact) -> None:
        """Take the next event.

        Raises:
            MisplacedEvent: it cannot follow those before it.
        """
        event, trial = fact.event, fact.trial
        if isinstance(event, Begun) == self._has_begun:
            raise MisplacedEvent(
                "begins a second search" if self._has_begun else "comes before the start of the search"
            )
        self._has_begun = True
        match event:
            case Extended(retry=retry):
                if not self._failed.issuperset(retry):
                    raise MisplacedEvent("repeats a trial that has not failed")
                self._to_retry.update(retry)
            case Started(retry_of=retry_of):
                if retry_of is not None and retry_of not in self._to_retry:
                    raise MisplacedEvent(f"repeats trial {retry_of}, which was not to be repeated")
                self._to_retry.discard(-1 if retry_of is None else retry_of)
                self._running.append(True)
            case Report() | Paused() | TakenUp() | WorkerLost() | Ended():
                if not isinstance(trial, int) or not 0 <= trial < len(self._running):
                    raise MisplacedEvent(f"belongs to trial {trial}, which has not started")
                if not self._running[trial]:
                    raise MisplacedEvent(f"belongs to trial {trial}, which had ended")
                if isinstance(event, Ended):
                    self._running[trial] = False
                    if event.status == "failed":
                        self._failed.add(trial)
