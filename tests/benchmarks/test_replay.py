"""Tests of the replay benchmark: virtual time and iterations by hand, a surrogate of a known curve, all searches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from benchmarks.record import Figure
from benchmarks.replay import table as tables
from benchmarks.replay.comparison import Remembered, figures_of, ratio, table_lines
from benchmarks.replay.simulator import Outcome, Setting, Simulation, Start
from benchmarks.replay.surrogate import Curve, Surrogate, World
from benchmarks.replay.table import Task, TrialRow
from benchmarks.replay.tools import STOCK, opened

TASK = Task(
    name="toy",
    config={"optim": {"lr": 0.05}, "contrast": {"warmup_iters": 100}, "train": {"max_iters": 400}},
    space={
        "optim.lr": {"type": "float", "low": 0.005, "high": 0.5, "log": True},
        "optim.poly_power": {"type": "float", "low": 0.4, "high": 1.4},
        "contrast.max_views": {"type": "int", "low": 4, "high": 256, "log": True},
    },
    shared_iters=100,
)
ITERATIONS = (200, 300, 400)


# Virtual time


class Numbers:
    """A world in which trial n has curve n, and only trial 9 is good enough."""

    iterations = (10, 20)

    def __init__(self, curves: Mapping[int, Curve]) -> None:
        self._curves = curves

    def curve(self, values: Mapping[str, Any]) -> Curve:
        return self._curves[values["n"]]

    def regret(self, values: Mapping[str, Any]) -> float:
        return 0.0 if values["n"] == 9 else 1.0


@dataclass
class Script:
    """A tool that starts given trials in order and stops those below 0.5."""

    starts: list[Start]
    heard: list[tuple[int, int, float, float]] = field(default_factory=list)

    def propose(self) -> Start | None:
        return self.starts.pop(0) if self.starts else None

    def report(self, trial: int, iteration: int, score: float, seconds: float) -> bool:
        self.heard.append((trial, iteration, score, seconds))
        return score >= 0.5

    def incumbent(self) -> Mapping[str, Any] | None:
        heard = [(score, trial) for trial, _, score, _ in self.heard if not math.isnan(score)]
        return {"n": max(heard)[1]} if heard else None


def start(number: int, iteration: int = 0) -> Start:
    return Start(number, {"n": number}, iteration)


def simulate(
    starts: list[Start], curves: Mapping[int, Curve], *, workers: int = 1, shared: int = 0, budget: int = 1000
) -> tuple[Outcome, Script]:
    script = Script(starts)
    setting = Setting(num_workers=workers, tolerance=0.01, max_iterations=budget, startup_s=5.0)
    return Simulation(script, Numbers(curves), setting, shared_iters=shared).run(), script


def test_one_worker_trains_one_trial_after_another() -> None:
    curves = {1: Curve((0.1, 0.9), 1.0), 9: Curve((0.6, 0.7), 2.0)}
    outcome, script = simulate([start(1), start(9)], curves)
    # Trial 1: 5 s start and 10 iterations of 1 s, then stopped. Trial 9: 5 s and 10 iterations of 2 s.
    assert script.heard == [(1, 10, 0.1, 10.0), (9, 10, 0.6, 20.0)]
    assert outcome == Outcome(iterations=20.0, seconds=40.0, reached=True, num_trials=2)


def test_iterations_of_running_trials_count() -> None:
    curves = {1: Curve((0.6, 0.7), 4.0), 9: Curve((0.8, 0.9), 1.0)}
    outcome, _ = simulate([start(1), start(9)], curves, workers=2)
    # Trial 9 reports at 15 s. By then trial 1 has trained for 10 s, which is 2.5 iterations.
    assert outcome == Outcome(iterations=12.5, seconds=15.0, reached=True, num_trials=2)


def test_the_shared_beginning_is_trained_once() -> None:
    curves = {n: Curve((0.6, 0.7), 1.0) for n in (1, 2)} | {9: Curve((0.6, 0.9), 1.0)}
    alone, _ = simulate([start(1), start(2), start(9)], curves)
    shared, script = simulate([start(1), start(2), start(9)], curves, shared=4)
    assert alone.iterations == 20 + 20 + 20
    assert shared.iterations == 20 + 16 + 16
    assert shared.seconds == 3 * 5 + 52
    assert [seconds for trial, _, _, seconds in script.heard if trial == 2] == [6.0, 10.0]


def test_workers_wait_for_the_shared_beginning() -> None:
    curves = {1: Curve((0.6, 0.7), 2.0), 9: Curve((0.6, 0.9), 1.0)}
    outcome, script = simulate([start(1), start(9)], curves, workers=2, shared=4)
    # Trial 1 has trained the first 4 iterations at 5 + 8 s; trial 9 trains 6 from there to its first report.
    assert script.heard == [(9, 10, 0.6, 6.0)]
    assert outcome.seconds == 13.0 + 6.0
    assert outcome.iterations == 7 + 6


def test_a_trial_goes_on_from_where_it_paused() -> None:
    curves = {9: Curve((0.1, 0.9), 1.0)}
    outcome, script = simulate([start(9, iteration=10)], curves, shared=4)
    assert script.heard == [(9, 20, 0.9, 10.0)]
    assert outcome == Outcome(iterations=10.0, seconds=15.0, reached=True, num_trials=0)


def test_a_search_fails_at_its_budget_and_where_nothing_is_left() -> None:
    curves = {1: Curve((0.6, 0.7), 1.0), 2: Curve((math.nan, math.nan), 1.0)}
    spent, _ = simulate([start(1), start(1), start(1)], curves, budget=30)
    assert (spent.iterations, spent.reached) == (30.0, False)
    empty, script = simulate([start(2)], curves)
    assert (empty.iterations, empty.reached) == (10.0, False)
    assert len(script.heard) == 1


# Table and surrogate


def true_scores(point: np.ndarray[Any, Any]) -> list[float]:
    """Return the scores at every report; the optimum of 0.4 lies at (0.7, 0.3) for every third coordinate."""
    final = 0.4 - 0.3 * (point[0] - 0.7) ** 2 - 0.1 * (point[1] - 0.3) ** 2
    return [final - 0.1 - 0.1 * point[0], final - 0.05 - 0.05 * point[0], final]


@pytest.fixture(scope="module")
def toy_table(tmp_path_factory: pytest.TempPathFactory) -> tables.Table:
    rng = np.random.default_rng(0)
    rows = []
    for trial, point in enumerate(qmc.Sobol(3, rng=rng).random(32)):
        values = TASK.values_at(point)
        noise = rng.normal(0.0, 0.004)
        for iteration, score in zip(ITERATIONS, true_scores(TASK.point_of(values)), strict=True):
            noisy = score + noise + rng.normal(0.0, 0.01 * (1 - iteration / 400))
            rows.append(TrialRow(trial, values, iteration, 20.0 * math.exp(point[2]), noisy - 0.01, noisy, [noisy]))
    path = tmp_path_factory.mktemp("table") / "toy.parquet"
    tables.write(path, TASK, rows)
    return tables.read(path)


@pytest.fixture(scope="module")
def surrogate(toy_table: tables.Table) -> Surrogate:
    return Surrogate(toy_table)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = {"optim.lr": 0.05, "optim.poly_power": 0.9, "contrast.max_views": 32}
    rows = [
        TrialRow(1, values | {"optim.lr": 0.5}, 200, 30.0, 0.1, 0.2, [0.1, 0.3]),
        TrialRow(1, values | {"optim.lr": 0.5}, 300, 0.0, error="loss is nan"),
        TrialRow(0, values, 200, 10.0, 0.15, 0.25, [0.2, 0.3]),
        TrialRow(0, values, 300, 30.0, 0.25, 0.35, [0.3, 0.4]),
    ]
    tables.write(tmp_path / "table.parquet", TASK, rows)
    table = tables.read(tmp_path / "table.parquet")
    assert table.task == TASK
    assert table.iterations == (200, 300)
    np.testing.assert_equal(table.scores, [[0.25, 0.35], [0.2, math.nan]])
    np.testing.assert_equal(table.raw_scores, [[0.15, 0.25], [0.1, math.nan]])
    # The first iterations are shared, so the first report is 100 iterations away.
    np.testing.assert_allclose(table.seconds_per_iteration, [40 / 200, 30 / 100])
    np.testing.assert_allclose(table.points[:, 0], [0.5, 1.0])
    assert TASK.values_at(table.points[0]) == pytest.approx(values)


def test_worlds_agree_with_a_known_curve(surrogate: Surrogate) -> None:
    points = qmc.Sobol(3, rng=9).random(64)
    truth = np.array([true_scores(point)[-1] for point in points])
    for seed in range(3):
        world = World(surrogate, seed)
        assert np.abs(world.true_scores(points)[:, -1] - truth).mean() < 0.006
        assert world.best_known == pytest.approx(0.4, abs=0.008)
        best = TASK.values_at((0.7, 0.3, 0.5))
        assert world.regret(best) < 0.012 < world.regret(TASK.values_at((0.1, 0.3, 0.5)))


def test_errors_of_the_surrogate(surrogate: Surrogate) -> None:
    errors = surrogate.errors(num_worlds=3)
    assert [error.iteration for error in errors] == [200, 300, 400]
    assert errors[-1].r2 > 0.9
    assert errors[-1].rmse < 0.008
    assert errors[-1].noise == pytest.approx(0.004, rel=0.5)
    assert errors[-1].correlation_data == errors[-1].correlation_simulated == pytest.approx(1.0)
    for error in errors:
        assert error.correlation_simulated == pytest.approx(error.correlation_data, abs=0.15)


def test_worlds_differ_where_the_table_says_little(surrogate: Surrogate) -> None:
    known, far = surrogate.points[:20], np.full((1, 3), 3.0)
    drawn = [World(surrogate, seed) for seed in range(6)]
    at_known = np.std([world.true_scores(known)[:, -1] for world in drawn], axis=0).mean()
    at_far = np.std([world.true_scores(far)[:, -1] for world in drawn], axis=0).mean()
    assert at_known < 0.005 < at_far


def test_a_config_trains_alike_in_a_world_and_otherwise_in_another(surrogate: Surrogate) -> None:
    values = TASK.values_at((0.2, 0.4, 0.9))
    assert World(surrogate, 3).curve(values) == World(surrogate, 3).curve(values)
    assert len({World(surrogate, seed).curve(values).scores for seed in range(5)}) == 5
    assert World(surrogate, 3).curve(values).seconds_per_iteration == pytest.approx(0.2 * math.exp(0.9), rel=0.05)


def test_a_config_diverges_where_its_nearest_neighbour_did(toy_table: tables.Table) -> None:
    scores = toy_table.scores.copy()
    scores[7, 1:] = math.nan
    world = World(Surrogate(tables.Table(**{**vars(toy_table), "scores": scores})), 0)
    there = world.curve(TASK.values_at(toy_table.points[7])).scores
    assert math.isfinite(there[0]) and math.isnan(there[1]) and math.isnan(there[2])
    assert all(math.isfinite(score) for score in world.curve(TASK.values_at(toy_table.points[6])).scores)


# The searches


@pytest.mark.parametrize("name", [*STOCK, "ours"])
def test_a_search_trains_and_names_what_it_saw(name: str, surrogate: Surrogate) -> None:
    if name == "Syne Tune ASHA":
        pytest.importorskip("syne_tune")
    setting = Setting(num_workers=2, tolerance=-1.0, max_iterations=4000, startup_s=1.0)
    with opened(name, TASK.spec, 0) as tool:
        outcome = Simulation(tool, Remembered(World(surrogate, 0), TASK), setting).run()
        incumbent = tool.incumbent()
    assert not outcome.reached
    assert outcome.num_trials >= 10
    assert incumbent is not None
    for path, words in TASK.space.items():
        assert words["low"] <= incumbent[path] <= words["high"]
    assert World(surrogate, 0).regret(incumbent) < 0.05


def test_ratios_of_medians_with_their_interval() -> None:
    assert ratio(np.full(5, 2.0), np.full(5, 4.0)) == "0.50 (0.50 to 0.50)"
    outcomes = {"a": [Outcome(100.0, 3600.0, True, 1)] * 3, "b": [Outcome(300.0, 1800.0, False, 4)] * 3}
    figures = figures_of(outcomes, 8)
    assert len(figures) == 6
    assert figures["8 workers, a: virtual time"] == Figure(1.0, "h", "lower", (1.0, 1.0))
    assert figures["8 workers, b: failed"] == Figure(3, "searches", "lower")
    assert table_lines(outcomes, "a")[-1] == (
        "| b | 300 (300 to 300) | 0.50 (0.50 to 0.50) | 4 | 3 of 3 | 3.00 (3.00 to 3.00) | 0.50 (0.50 to 0.50) |"
    )
