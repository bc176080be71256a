"""Virtual workers that train in virtual time: an event queue between a search and a world of learning curves."""

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.replay.surrogate import Curve


class World(Protocol):
    """Source of the learning curves of configs."""

    @property
    def iterations(self) -> tuple[int, ...]:
        """Iterations of the reports; the last one is the full budget."""

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """Return the learning curve of a config."""

    def regret(self, values: Mapping[str, Any]) -> float:
        """Return the difference between the best known score and the true score of a config."""


@dataclass(frozen=True)
class Start:
    """A trial to train."""

    trial: int
    values: Mapping[str, Any]
    iteration: int = 0
    """Iteration from which the trial continues."""


class Tool(Protocol):
    """A search of any tool, driven as its users would."""

    def propose(self) -> Start | None:
        """Return what a free worker trains next; None if there is nothing to train."""

    def report(self, trial: int, iteration: int, score: float, seconds: float) -> bool:
        """Record a score and return True if the trial continues; NaN means that it diverged and has ended."""

    def incumbent(self) -> Mapping[str, Any] | None:
        """Return the config that the tool would currently name as its best."""


@dataclass(frozen=True)
class Setting:
    """The conditions that are equal on all sides of a comparison."""

    num_workers: int
    tolerance: float
    """Largest difference between the incumbent's true score and the best known at which a search has succeeded."""
    max_iterations: int
    """Training iterations of all workers together after which a search has failed."""
    startup_s: float
    """Seconds that a worker takes to start or resume a trial."""


@dataclass(frozen=True)
class Outcome:
    """The cost of a search."""

    iterations: float
    """Iterations trained by all workers, including trials that were still running."""
    seconds: float
    """Virtual time."""
    reached: bool
    num_trials: int


@dataclass
class _Leg:
    """A worker's training up to the next report of its trial."""

    trial: int
    values: Mapping[str, Any]
    report: int
    """Index of the next report."""
    iterations: int
    began: float
    ends: float

    def trained_at(self, now: float) -> float:
        span = self.ends - self.began
        return self.iterations * (min(max((now - self.began) / span, 0.0), 1.0) if span > 0 else 1.0)


class Simulation:
    """One search in one world."""

    def __init__(self, tool: Tool, world: World, setting: Setting, *, shared_iters: int = 0) -> None:
        """Create the workers; the first `shared_iters` iterations are trained once, by the first trial."""
        self._tool = tool
        self._world = world
        self._setting = setting
        self._shared_iters = shared_iters
        self._shared_from: float | None = None
        """Time from which trials can start after the shared iterations; None if no trial has begun them."""
        self._trained = 0.0
        """Iterations of completed legs."""
        self._legs: dict[int, _Leg] = {}
        self._queue: list[tuple[float, int, int]] = []
        """End time of a leg, running number, worker."""
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
        """Report a score and return True if the worker continues with the trial."""
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
