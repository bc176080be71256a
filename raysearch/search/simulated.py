"""The executor in virtual time: workers train in a world of learning curves, so that a search of days takes seconds."""

import heapq
import itertools
from typing import NamedTuple, Protocol

from raysearch.history.events import Ended, Report
from raysearch.schedulers import Decision
from raysearch.search.work import Assignment, Work


class Leg(NamedTuple):
    """The way of a trial to its next event."""

    ends: float
    """Virtual time of the event."""
    event: Report | Ended


class World(Protocol):
    """Where simulated trials train."""

    def begin(self, assignment: Assignment, now: float) -> Leg:
        """Start a trial, or continue one, on a worker that is free now."""
        ...

    def go_on(self, number: int, now: float) -> Leg:
        """Train a trial further after a report."""
        ...


class SimulatedExecutor:
    """Trains in virtual time: an event queue around some workers."""

    def __init__(self, world: World, num_workers: int) -> None:
        """Set the workers up, at time 0."""
        self._world = world
        self._num_workers = num_workers
        self.now = 0.0
        """Virtual time, in the unit of the world."""

    def run(self, work: Work) -> None:
        """Train until the work has nothing to start and nothing runs."""
        order = itertools.count()
        legs: list[tuple[float, int, int, Report | Ended]] = []
        """When a leg ends, a running number, its trial, and the event there."""

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
