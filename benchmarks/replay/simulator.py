"""Virtual workers that train in virtual time: an event queue around a search and a world of learning curves."""

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.replay.surrogate import Curve


class World(Protocol):
    """Where trials train."""

    @property
    def iterations(self) -> tuple[int, ...]:
        """Iterations of the reports; the last is the full budget."""

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """The training of a config."""

    def regret(self, values: Mapping[str, Any]) -> float:
        """How far the true score of a config lies below the best known."""


@dataclass(frozen=True)
class Start:
    """A trial to train."""

    trial: int
    values: Mapping[str, Any]
    iteration: int = 0
    """Where it goes on from."""


class Tool(Protocol):
    """A search, of whatever make, as its users would drive it."""

    def propose(self) -> Start | None:
        """What a free worker trains next; None while there is nothing."""

    def report(self, trial: int, iteration: int, score: float, seconds: float) -> bool:
        """Take a score in; whether the trial goes on. NaN: it diverged, and is over."""

    def incumbent(self) -> Mapping[str, Any] | None:
        """The config that the tool would name as its best now."""


@dataclass(frozen=True)
class Setting:
    """What is equal on all sides of a comparison."""

    num_workers: int
    tolerance: float
    """A search is over when its incumbent's true score is within this of the best known."""
    max_iterations: int
    """Training iterations, of all workers together, after which a search has failed."""
    startup_s: float
    """Seconds in which a worker starts a trial or takes one up again."""


@dataclass(frozen=True)
class Outcome:
    """What a search took."""

    iterations: float
    """Trained by all workers, also in trials that were still running."""
    seconds: float
    """Of virtual time."""
    reached: bool
    num_trials: int


@dataclass
class _Leg:
    """A worker's way to the next report of its trial."""

    trial: int
    values: Mapping[str, Any]
    report: int
    """Place of the report it is on the way to."""
    iterations: int
    began: float
    ends: float

    def trained_at(self, now: float) -> float:
        span = self.ends - self.began
        return self.iterations * (min(max((now - self.began) / span, 0.0), 1.0) if span > 0 else 1.0)


class Simulation:
    """One search in one world."""

    def __init__(self, tool: Tool, world: World, setting: Setting, *, shared_iters: int = 0) -> None:
        """Set the workers up; the first `shared_iters` are trained once, by the first trial, and then cost nothing."""
        self._tool = tool
        self._world = world
        self._setting = setting
        self._shared_iters = shared_iters
        self._shared_from: float | None = None
        """When the shared beginning can be started from; None: nobody has begun it."""
        self._trained = 0.0
        """Iterations of the legs that are over."""
        self._legs: dict[int, _Leg] = {}
        self._queue: list[tuple[float, int, int]] = []
        """When a leg ends, a running number, its worker."""
        self._order = itertools.count()
        self._num_trials = 0

    def run(self) -> Outcome:
        """Train until the incumbent is good enough or the budget is spent."""
        idle = list(range(self._setting.num_workers))
        now = 0.0
        while True:
            idle = [worker for worker in idle if not self._start(worker, now)]
            if not self._queue:
                return self._outcome(now, reached=False)
            now, _, worker = heapq.heappop(self._queue)
            if not self._end_leg(worker, now):
                idle.append(worker)
            incumbent = self._tool.incumbent()
            if incumbent is not None and self._world.regret(incumbent) <= self._setting.tolerance:
                return self._outcome(now, reached=True)
            if self._trained_at(now) >= self._setting.max_iterations:
                return self._outcome(now, reached=False)

    def _start(self, worker: int, now: float) -> bool:
        start = self._tool.propose()
        if start is None:
            return False
        self._num_trials += start.iteration == 0
        ready = now + self._setting.startup_s
        iteration = start.iteration
        if iteration == 0 and self._shared_iters:
            if self._shared_from is None:
                seconds = self._world.curve(start.values).seconds_per_iteration
                self._shared_from = ready + self._shared_iters * seconds
            else:
                iteration = self._shared_iters
                ready = max(ready, self._shared_from)
        self._begin_leg(worker, start.trial, start.values, iteration, ready)
        return True

    def _begin_leg(self, worker: int, trial: int, values: Mapping[str, Any], iteration: int, began: float) -> None:
        report = next(i for i, reported in enumerate(self._world.iterations) if reported > iteration)
        iterations = self._world.iterations[report] - iteration
        ends = began + iterations * self._world.curve(values).seconds_per_iteration
        self._legs[worker] = _Leg(trial, values, report, iterations, began, ends)
        heapq.heappush(self._queue, (ends, next(self._order), worker))

    def _end_leg(self, worker: int, now: float) -> bool:
        """Report; whether the worker goes on with the trial."""
        leg = self._legs.pop(worker)
        self._trained += leg.iterations
        score = self._world.curve(leg.values).scores[leg.report]
        iteration = self._world.iterations[leg.report]
        goes_on = self._tool.report(leg.trial, iteration, score, leg.ends - leg.began)
        if not goes_on or math.isnan(score) or iteration == self._world.iterations[-1]:
            return False
        self._begin_leg(worker, leg.trial, leg.values, iteration, now)
        return True

    def _trained_at(self, now: float) -> float:
        return self._trained + sum(leg.trained_at(now) for leg in self._legs.values())

    def _outcome(self, now: float, *, reached: bool) -> Outcome:
        return Outcome(self._trained_at(now), now, reached, self._num_trials)
