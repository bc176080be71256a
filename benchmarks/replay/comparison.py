"""Runs many searches, each in the world of its seed, and compares their costs: medians, quartiles, ratios."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.record import Figure
from benchmarks.replay.simulator import Outcome, Setting, Simulation
from benchmarks.replay.surrogate import Curve, Surrogate, World
from benchmarks.replay.table import Task
from benchmarks.replay.tools import SHARING, opened

_NUM_BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Job:
    """One search: a tool, a seed, a setting."""

    tool: str
    seed: int
    setting: Setting


def jobs_of(setting: Setting, tools: Sequence[str], num_seeds: int) -> list[Job]:
    """Return the searches of one table, for every tool and seed."""
    return [Job(tool, seed, setting) for tool in tools for seed in range(num_seeds)]


def run_all(jobs: Sequence[Job], surrogate: Surrogate, num_processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Run searches in processes of low priority, and yield their outcomes in the order of the jobs."""
    with get_context("spawn").Pool(num_processes, _begin, (surrogate,)) as pool:
        yield from zip(jobs, pool.imap(_run, jobs), strict=True)


class Remembered:
    """A world that caches the curve and the regret of every config."""

    def __init__(self, world: World, task: Task) -> None:
        self.iterations = world.iterations
        self._world, self._paths = world, list(task.space)
        self._curves: dict[tuple[Any, ...], Curve] = {}
        self._regrets: dict[tuple[Any, ...], float] = {}

    def curve(self, values: Mapping[str, Any]) -> Curve:
        key = tuple(values[path] for path in self._paths)
        if key not in self._curves:
            self._curves[key] = self._world.curve(values)
        return self._curves[key]

    def regret(self, values: Mapping[str, Any]) -> float:
        key = tuple(values[path] for path in self._paths)
        if key not in self._regrets:
            self._regrets[key] = self._world.regret(values)
        return self._regrets[key]


_shown: list[Surrogate] = []
"""The surrogate of a process that runs searches, as a list of at most one."""


def _begin(surrogate: Surrogate) -> None:
    _shown.append(surrogate)
    os.nice(10)


@cache
def _world(seed: int) -> World:
    return World(_shown[0], seed)


def _run(job: Job) -> Outcome:
    task = _shown[0].task
    with opened(job.tool, task.spec, job.seed) as tool:
        shared_iters = task.shared_iters if job.tool in SHARING else 0
        return Simulation(tool, Remembered(_world(job.seed), task), job.setting, shared_iters=shared_iters).run()


def table_lines(outcomes: Mapping[str, Sequence[Outcome]], reference: str) -> list[str]:
    """Return a table of medians and quartiles, and of the ratios of medians to the reference's, with intervals."""
    lines = [
        f"| | iterations | virtual hours | trials | failed | iterations, {reference} = 1 | hours, {reference} = 1 |",
        "|---|---|---|---|---|---|---|",
    ]
    references = _iterations(outcomes[reference]), _hours(outcomes[reference])
    for side, found in outcomes.items():
        iterations, hours = _iterations(found), _hours(found)
        cells = [
            side,
            spread(iterations, ".0f"),
            spread(hours, ".2f"),
            f"{np.median([outcome.num_trials for outcome in found]):.0f}",
            f"{sum(not outcome.reached for outcome in found)} of {len(found)}",
            ratio(iterations, references[0]),
            ratio(hours, references[1]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def figures_of(outcomes: Mapping[str, Sequence[Outcome]], num_workers: int) -> dict[str, Figure]:
    """Return the medians of every side with their quartiles, and its searches that failed."""
    figures = {}
    for side, found in outcomes.items():
        name = f"{num_workers} workers, {side}"
        figures[f"{name}: iterations"] = _median(_iterations(found), "")
        figures[f"{name}: virtual time"] = _median(_hours(found), "h")
        figures[f"{name}: failed"] = Figure(sum(not outcome.reached for outcome in found), "searches", "lower")
    return figures


def _median(values: npt.NDArray[np.float64], unit: str) -> Figure:
    low, middle, high = (float(quantile) for quantile in np.quantile(values, [0.25, 0.5, 0.75]))
    return Figure(middle, unit, "lower", (low, high))


def _iterations(outcomes: Sequence[Outcome]) -> npt.NDArray[np.float64]:
    return np.array([outcome.iterations for outcome in outcomes])


def _hours(outcomes: Sequence[Outcome]) -> npt.NDArray[np.float64]:
    return np.array([outcome.seconds for outcome in outcomes]) / 3600


def spread(values: npt.NDArray[np.float64], form: str) -> str:
    """Return median and quartiles as text."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def ratio(own: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> str:
    """Return the ratio of two medians and its 95 % bootstrap interval as text."""
    rng = np.random.default_rng(0)
    medians = [np.median(rng.choice(values, (_NUM_BOOTSTRAPS, len(values))), axis=1) for values in (own, other)]
    low, high = np.quantile(medians[0] / medians[1], [0.025, 0.975])
    return f"{np.median(own) / np.median(other):.2f} ({low:.2f} to {high:.2f})"
