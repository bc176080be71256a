"""Tests that nothing in a search grows faster than its work, counted in operations."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.events import Begun, Ended, Report, Started
from raysearch.history.journal import MemoryRecord
from raysearch.history.records import Fact
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.operations import num_operations

TRAINABLE = """
from pydantic import BaseModel

class Sized:
    class Config(BaseModel):
        x: float = 0.5
        size: float = 0.5

        def memory_estimate(self):
            return "cells", self.size
"""
NUM_REPORTS = 4


def spec_for(folder: Path, algorithm: str = "random", **scheduler: Any) -> SearchSpec:
    (folder / "sized.py").write_text(TRAINABLE)
    document = {
        "name": "many",
        "trainable": "sized.py:Sized",
        "space": {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "size")},
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": algorithm, "trials": 10_000},
        "scheduler": {
            "name": "asha",
            "grace_iters": 1,
            "reduction_factor": 2,
            "max_iters": NUM_REPORTS,
            "audit_fraction": 0,
            **scheduler,
        },
        "resources": {"cpu": 1},
    }
    return parse_space(document, folder)


def report(iteration: int, score: float) -> Report:
    return Report(
        iteration=iteration,
        value=score,
        metrics={"loss": -score},
        checkpoint=None,
        seconds=1.0,
        done=iteration == NUM_REPORTS,
        peak_memory_bytes=1000,
        memory_limit_bytes=10_000,
        worker="host:1",
    )


def facts(spec: SearchSpec, num_trials: int, limit: float) -> Iterator[Fact]:
    """Yield the record of trials that have all ended, those whose size exceeds the limit out of memory."""
    rng = random.Random(0)
    distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
    yield Fact(Begun(spec.name, "max", 10_000), None, 0.0)
    for number in range(num_trials):
        values = {"x": rng.random(), "size": rng.random()}
        estimate = "cells", values["size"]
        yield Fact(Started(values, distributions, values, number == 0, memory_estimate=estimate), None, 0.0)
        for iteration in range(1, NUM_REPORTS + 1):
            yield Fact(report(iteration, rng.random()), number, 0.0)
        is_short = values["size"] > limit
        yield Fact(
            Ended("infeasible", needed_memory_bytes=20_000, excess=1.0)
            if is_short
            else Ended(rng.choice(["completed", "stopped"])),
            number,
            0.0,
        )


def opened(spec: SearchSpec, num_trials: int, limit: float = 0.95) -> Search:
    return Search(spec, MemoryRecord(facts(spec, num_trials, limit)))


def step(search: Search, score: float) -> None:
    """Start a trial, take its reports until it ends or pauses, and tell the observers."""
    proposal = search.propose()
    assert proposal is not None
    reached = max(proposal.trial.reports, default=0)
    for iteration in range(reached + 1, NUM_REPORTS + 1):
        search.take(proposal.number, report(iteration, score))
        if proposal.trial.status != "running" or proposal.trial.is_paused:
            break
    search.take_changed()


@pytest.mark.parametrize("scheduler", [{}, {"form": "promotion"}, {"name": "median"}, {"name": "hyperband"}], ids=str)
def test_opening_a_search_takes_operations_in_proportion_to_its_reports(
    tmp_path: Path, scheduler: dict[str, Any]
) -> None:
    spec = spec_for(tmp_path, **scheduler)
    opened(spec, 10)  # whatever is done once
    few, many = (num_operations(lambda n=n: opened(spec, n)) for n in (60, 240))  # type: ignore[misc]
    assert many < 4.4 * few


@pytest.mark.parametrize(
    ("algorithm", "limit"),
    [
        ("random", 0.95),
        ("tpe", 1.0),
    ],  # proposals of TPE that are too large would be drawn again, now more, now less often
)
def test_a_trial_takes_as_many_operations_in_a_long_search_as_in_a_short_one(
    tmp_path: Path, algorithm: str, limit: float
) -> None:
    spec = spec_for(tmp_path, algorithm)
    counts = []
    for num_trials in (1200, 4800):
        search = opened(spec, num_trials, limit)
        step(search, 0.5)  # which takes in the history
        counts.append(num_operations(lambda search=search: [step(search, 0.5) for _ in range(3)]))  # type: ignore[misc]
    few, many = counts
    assert many < 1.5 * few, "a loop over all trials would take four times as many"


def test_paused_trials_do_not_slow_down_the_others(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, form="promotion")
    search, rng, counts = opened(spec, 1), random.Random(0), []
    for _ in range(2):
        for _ in range(150):
            step(search, rng.random())
        counts.append(num_operations(lambda: [step(search, rng.random()) for _ in range(10)]))
    assert sum(trial.is_paused for trial in search.history.trials) > 50
    assert counts[1] < 1.5 * counts[0]
