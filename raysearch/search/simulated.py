"""The executor in virtual time: trials follow learning curves, so that a search of days takes seconds."""

import heapq
import itertools
from typing import NamedTuple, Protocol

from raysearch.history.events import Ended, Report
from raysearch.schedulers import Decision
from raysearch.search.work import Assignment, Work


class Leg(NamedTuple):
    """The training of a trial up to its next event."""

    ends: float
    """Virtual time of the event."""
    event: Report | Ended


class World(Protocol):
    """The source of simulated trainings."""

    def begin(self, assignment: Assignment, now: float) -> Leg:
        """Start or continue a trial on a free worker."""
        ...

    def go_on(self, number: int, now: float) -> Leg:
        """Continue a trial after a report."""
        ...


class SimulatedExecutor:
    """An executor in virtual time: an event queue with some workers."""

    def __init__(self, world: World, num_workers: int) -> None:
        """Create the workers at time 0."""
        self._world = world
        self._num_workers = num_workers
        self.now = 0.0
        """Virtual time, in the unit of the world."""

    def run(self, work: Work) -> None:
        """Train until the work has nothing to start and nothing runs."""
        order = itertools.count()
        legs: list[tuple[float, int, int, Report | Ended]] = []
        """End time of each leg, a running number, its trial, and its event."""

        def push(number: int, leg: Leg) -> None:
            heapq.heappush(legs, (leg.ends, next(order), number, leg.event))

        while True:
            while len(legs) < self._num_workers and (assignment := work.next()) is not None:
                push(assignment.number, self._world.begin(assignment, self.now))
            if not legs:
                return
            self.now, _, number, event = heapq.heappop(legs)
            if work.take(number, event) is Decision.CONTINUE:
                push(number, self._world.go_on(number, self.now))
            work.tick()
