"""Virtual workers that train in a world of learning curves, for a search by any tool."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.replay.surrogate import Curve
from raysearch.history.events import Ended, Halted, Report
from raysearch.schedulers import Decision
from raysearch.search.simulated import Leg, SimulatedExecutor
from raysearch.search.work import Assignment


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


@dataclass(frozen=True)
class _Way:
    """The training of a trial up to its next report."""

    iterations: int
    began: float
    ends: float

    def trained_at(self, now: float) -> float:
        span = self.ends - self.began
        return self.iterations * (min(max((now - self.began) / span, 0.0), 1.0) if span > 0 else 1.0)


class _Over(BaseException):
    """The search has ended: the incumbent is good enough, or the budget is spent."""


class Simulation:
    """One search in one world, as the work of an executor in virtual time and as the world where it trains."""

    def __init__(self, tool: Tool, world: World, setting: Setting, *, shared_iters: int = 0) -> None:
        """Create the search; the first `shared_iters` iterations are trained once, by the first trial."""
        self._tool = tool
        self._world = world
        self._setting = setting
        self._shared_iters = shared_iters
        self._shared_from: float | None = None
        """Time from which trials can start after the shared iterations; None if no trial has begun them."""
        self._executor = SimulatedExecutor(self, setting.num_workers)
        self._trained = 0.0
        """Iterations of completed ways."""
        self._starts: dict[int, Start] = {}
        """Latest start of every trial."""
        self._ways: dict[int, _Way] = {}
        """Present way of every trial that is being trained."""
        self._reported: dict[int, int] = {}
        """Index of each trial's last report, or of the next one while it trains."""
        self._num_trials = 0

    def run(self) -> Outcome:
        """Train until the incumbent is good enough or the budget is spent."""
        reached = False
        try:
            self._executor.run(self)
        except _Over:
            reached = self._is_good_enough
        return Outcome(self._trained_by_now, self._executor.now, reached, self._num_trials)

    @property
    def _is_good_enough(self) -> bool:
        incumbent = self._tool.incumbent()
        return incumbent is not None and self._world.regret(incumbent) <= self._setting.tolerance

    @property
    def _trained_by_now(self) -> float:
        return self._trained + sum(way.trained_at(self._executor.now) for way in self._ways.values())

    # The work

    @property
    def finished(self) -> bool:
        """Return False: `run` ends a search."""
        return False

    def next(self) -> Assignment | None:
        """Return the next trial that the tool proposes."""
        start = self._tool.propose()
        if start is None:
            return None
        self._num_trials += start.iteration == 0
        self._starts[start.trial] = start
        return Assignment(start.trial, title="", config={}, folder=Path(), shared_folder=None, reports=())

    def take(self, number: int, event: Report | Ended | Halted) -> Decision:
        """Pass a report to the tool, and return its decision."""
        assert isinstance(event, Report), "nothing else happens in a world"
        way = self._ways.pop(number)
        self._trained += way.iterations
        goes_on = self._tool.report(number, event.iteration, event.value, event.seconds)
        is_over = math.isnan(event.value) or event.iteration == self._world.iterations[-1]
        return Decision.CONTINUE if goes_on and not is_over else Decision.STOP

    def lost(self, number: int, error: str, *, out_of_memory: bool = False) -> None:
        """Raise an error, because no worker is lost in a simulation."""
        raise AssertionError(error)

    def tick(self) -> None:
        """Raise `_Over` if the search has ended."""
        if self._is_good_enough or self._trained_by_now >= self._setting.max_iterations:
            raise _Over

    # The world

    def begin(self, assignment: Assignment, now: float) -> Leg:
        """Start a worker, and train from the trial's iteration or from the end of the shared iterations."""
        start = self._starts[assignment.number]
        iteration, ready = start.iteration, now + self._setting.startup_s
        if iteration == 0 and self._shared_iters:
            if self._shared_from is None:
                seconds = self._world.curve(start.values).seconds_per_iteration
                self._shared_from = ready + self._shared_iters * seconds
            else:
                iteration = self._shared_iters
                ready = max(ready, self._shared_from)
        report = next(i for i, reported in enumerate(self._world.iterations) if reported > iteration)
        return self._leg(assignment.number, report, iteration, ready)

    def go_on(self, number: int, now: float) -> Leg:
        """Train to the next report."""
        report = self._reported[number] + 1
        return self._leg(number, report, self._world.iterations[report - 1], now)

    def _leg(self, number: int, report: int, iteration: int, began: float) -> Leg:
        curve = self._world.curve(self._starts[number].values)
        iterations = self._world.iterations[report] - iteration
        ends = began + iterations * curve.seconds_per_iteration
        self._ways[number] = _Way(iterations, began, ends)
        self._reported[number] = report
        reached = self._world.iterations[report]
        return Leg(ends, Report(reached, curve.scores[report], {}, f"checkpoint-{reached}", ends - began, done=False))
