"""Tests of the simulated searches: virtual time, compute and regrets worked out by hand."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.search.simulation import Outcome, Simulation, Start
from benchmarks.search.task import Curve, Task


class Numbers:
    """A world in which trial n has curve n and a regret of 1 - n / 16."""

    best, median = 1.0, 0.0

    def __init__(self, curves: Mapping[int, Curve]) -> None:
        self._curves = curves

    def curve(self, values: Mapping[str, Any]) -> Curve:
        return self._curves[values["n"]]

    def true_score(self, values: Mapping[str, Any]) -> float:
        return float(values["n"]) / 16


@dataclass
class Script:
    """A tool that starts given trials in order, stops those below 0.5, and names the best last score."""

    starts: list[Start]
    heard: list[tuple[int, int, float]] = field(default_factory=list)

    def propose(self) -> Start | None:
        return self.starts.pop(0) if self.starts else None

    def report(self, trial: int, iteration: int, score: float) -> bool:
        self.heard.append((trial, iteration, score))
        return score >= 0.5

    def named(self) -> Mapping[str, Mapping[str, Any] | None]:
        heard = [(score, trial) for trial, _, score in self.heard if not math.isnan(score)]
        return {"own": {"n": max(heard)[1]} if heard else None}


def start(number: int, iteration: int = 0) -> Start:
    return Start(number, {"n": number}, iteration)


def simulate(
    starts: list[Start],
    curves: Mapping[int, Curve],
    *,
    workers: int = 1,
    shared: int = 0,
    grid: tuple[int, ...] = (1, 2),
) -> tuple[Outcome, Script]:
    script, task = Script(starts), Task("numbers", {}, (10, 20), shared)
    return Simulation(script, task, Numbers(curves), workers, grid, share=shared > 0).run(), script


def test_one_worker_trains_one_trial_after_another() -> None:
    curves = {1: Curve((0.1, 0.9), 1.0), 9: Curve((0.6, 0.7), 2.0)}
    outcome, script = simulate([start(1), start(9)], curves)
    assert script.heard == [(1, 10, 0.1), (9, 10, 0.6), (9, 20, 0.7)]
    # At one full training of 20 iterations, trial 9 has reported its first 10; at two, nothing was left to train.
    assert outcome == Outcome({"own": (7 / 16, 7 / 16)}, num_trials=2)


def test_before_the_first_report_the_regret_is_that_of_the_median_config() -> None:
    outcome, _ = simulate([start(n) for n in (6, 7, 8)], {n: Curve((0.6, 0.6), 1.0) for n in (6, 7, 8)}, workers=3)
    # The first report comes when 30 iterations are spent, which is beyond one full training.
    assert outcome.regrets["own"] == (1.0, 0.5)


def test_iterations_of_running_trials_count() -> None:
    curves = {4: Curve((0.6, 0.7), 4.0), 9: Curve((0.8, 0.9), 1.0)}
    outcome, script = simulate([start(4), start(9)], curves, workers=2, grid=(1,))
    # Trial 9 ends after 20 s with 20 iterations; trial 4 has trained for 5 by then, which is more than one training.
    assert script.heard == [(9, 10, 0.8), (9, 20, 0.9)]
    assert outcome.regrets["own"] == (7 / 16,)


def test_the_shared_beginning_is_trained_once() -> None:
    curves = {n: Curve((0.6, 0.7), 1.0) for n in (5, 6, 7)}
    alone, _ = simulate([start(5), start(6), start(7)], curves, grid=(2,))
    assert alone.num_trials == 2
    # With 4 of 20 iterations shared, the second trial ends at 36 iterations, so a third begins before 40.
    shared, _ = simulate([start(5), start(6), start(7)], curves, shared=4, grid=(2,))
    assert shared.num_trials == 3


def test_a_trial_goes_on_from_where_it_paused() -> None:
    _, script = simulate([start(9, iteration=10)], {9: Curve((0.1, 0.9), 1.0)}, shared=4)
    assert script.heard == [(9, 20, 0.9)]


def test_a_diverged_trial_has_ended() -> None:
    outcome, script = simulate([start(9)], {9: Curve((math.nan, math.nan), 1.0)})
    assert len(script.heard) == 1
    assert outcome.regrets["own"] == (1.0, 1.0)
