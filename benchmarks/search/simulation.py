"""Virtual workers that train in a world of learning curves for one search, and the regret of what the search names."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.search.task import Curve, Task, World, regret
from raysearch.history.events import Ended, Halted, Report
from raysearch.schedulers import Decision
from raysearch.search.simulated import Leg, SimulatedExecutor
from raysearch.search.work import Assignment


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
        """Return what a free worker trains next; None if it has to wait for a running trial."""
        ...

    def report(self, trial: int, iteration: int, score: float) -> bool:
        """Record a score and return True if the trial continues; NaN means that it diverged and has ended."""
        ...

    def named(self) -> Mapping[str, Mapping[str, Any] | None]:
        """Return the config that the search would name as its best now, by every rule of naming; None for none yet."""
        ...


@dataclass(frozen=True)
class Outcome:
    """The course of a search."""

    regrets: Mapping[str, tuple[float, ...]]
    """Regret at every grid point, by the rule of naming."""
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
    """The last grid point is reached."""


class Simulation:
    """One search in one world, as the work of an executor in virtual time and as the world where it trains."""

    def __init__(
        self,
        tool: Tool,
        task: Task,
        world: World,
        num_workers: int,
        grid: Sequence[int],
        *,
        share: bool = False,
    ) -> None:
        """Prepare the search.

        Args:
            tool: The search.
            task: Space and reports of the table.
            world: The learning curves.
            num_workers: Number of trials that train at a time.
            grid: Numbers of full trainings' worth of compute at which the regret is taken, ascending.
            share: True if the iterations that all trials have in common are trained once, by the first trial.
        """
        self._tool = tool
        self._iterations = task.iterations
        self._world = world
        self._grid = grid
        self._shared_iters = task.shared_iters if share else 0
        self._shared_from: float | None = None
        """Time from which trials can start after the shared iterations; None if no trial has begun them."""
        self._executor = SimulatedExecutor(self, num_workers)
        self._trained = 0.0
        """Iterations of completed ways."""
        self._starts: dict[int, Start] = {}
        """Latest start of every trial."""
        self._curves: dict[int, Curve] = {}
        self._ways: dict[int, _Way] = {}
        """Present way of every trial that is being trained."""
        self._reported: dict[int, int] = {}
        """Index of each trial's last report, or of the next one while it trains."""
        self._regrets: list[Mapping[str, float]] = []
        """Regrets at the grid points that have been passed."""

    def run(self) -> Outcome:
        """Train until the last grid point is reached or the tool has nothing left to train."""
        with suppress(_Over):
            self._executor.run(self)
        self._pass_grid_points(math.inf)
        rules = self._regrets[0]
        return Outcome({rule: tuple(passed[rule] for passed in self._regrets) for rule in rules}, len(self._starts))

    def _pass_grid_points(self, compute: float) -> None:
        """Note the regrets at the grid points below an amount of compute, in full trainings."""
        num_passed = sum(point < compute - 1e-9 for point in self._grid) - len(self._regrets)
        if num_passed > 0:
            named = self._tool.named()
            self._regrets += [{rule: regret(self._world, values) for rule, values in named.items()}] * num_passed

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
        self._starts[start.trial] = start
        self._curves[start.trial] = self._world.curve(start.values)
        return Assignment(start.trial, title="", config={}, folder=Path(), shared_folder=None, reports=())

    def take(self, number: int, event: Report | Ended | Halted) -> Decision:
        """Pass a report to the tool, and return its decision."""
        assert isinstance(event, Report), "nothing else happens in a world"
        running = sum(way.trained_at(self._executor.now) for trial, way in self._ways.items() if trial != number)
        self._trained += self._ways.pop(number).iterations
        compute = (self._trained + running) / self._iterations[-1]
        self._pass_grid_points(compute)
        goes_on = self._tool.report(number, event.iteration, event.value)
        if compute > self._grid[-1] - 1e-9:
            raise _Over
        is_over = math.isnan(event.value) or event.iteration == self._iterations[-1]
        return Decision.CONTINUE if goes_on and not is_over else Decision.STOP

    def lost(self, number: int, error: str, *, out_of_memory: bool = False) -> None:
        """Raise an error, because no worker is lost in a simulation."""
        raise AssertionError(error)

    def tick(self) -> None:
        """Do nothing."""

    # The world

    def begin(self, assignment: Assignment, now: float) -> Leg:
        """Train from the trial's iteration, or from the end of the shared iterations."""
        start = self._starts[assignment.number]
        iteration, ready = start.iteration, now
        if iteration == 0 and self._shared_iters:
            if self._shared_from is None:
                seconds = self._curves[start.trial].seconds_per_iteration
                self._shared_from = now + self._shared_iters * seconds
            else:
                iteration = self._shared_iters
                ready = max(now, self._shared_from)
        report = next(i for i, reported in enumerate(self._iterations) if reported > iteration)
        return self._leg(assignment.number, report, iteration, ready)

    def go_on(self, number: int, now: float) -> Leg:
        """Train to the next report."""
        report = self._reported[number] + 1
        return self._leg(number, report, self._iterations[report - 1], now)

    def _leg(self, number: int, report: int, iteration: int, began: float) -> Leg:
        curve = self._curves[number]
        reached = self._iterations[report]
        iterations = reached - iteration
        ends = began + iterations * curve.seconds_per_iteration
        self._ways[number] = _Way(iterations, began, ends)
        self._reported[number] = report
        return Leg(ends, Report(reached, curve.scores[report], {}, f"checkpoint-{reached}", ends - began, done=False))
