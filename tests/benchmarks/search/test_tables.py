"""Tests of the tables: halves that share nothing, and what must hold in every world."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import tables
from benchmarks.search.tables import Half
from benchmarks.search.task import regret, values_at

WITHOUT_CURVES = [
    *tables.names("development", all_tables=True, curves=False),
    *tables.names("published", all_tables=True, curves=False),
]


def test_the_halves_share_no_table() -> None:
    halves: tuple[Half, Half] = ("development", "published")
    development, published = (set(tables.names(half, all_tables=True, curves=True)) for half in halves)
    assert not development & published
    assert len(development) == len(published) + 1 == 2 + 3 + 3 + 34
    for half, everything in zip(halves, (development, published), strict=True):
        chosen = tables.names(half, all_tables=False, curves=True)
        assert set(chosen) <= everything
        assert sum(name.startswith("lcbench") for name in chosen) == 4
        assert sum(name.endswith("noisy") for name in chosen) == 2


@pytest.mark.parametrize("name", WITHOUT_CURVES)
def test_a_world(name: str) -> None:
    table = tables.table(name, None)
    spec, world = table.task.spec(seed=0), table.world(3)
    assert table.task.name == name
    rng = np.random.default_rng(5)
    configs = [values_at(spec, rng.random(len(spec.parameters))) for _ in range(40)]
    regrets = [regret(world, values) for values in configs]
    assert min(regrets) >= 0.0
    assert min(regrets) < 1.0 < max(regrets)
    assert regret(world, None) == 1.0
    first = world.curve(configs[0])
    assert len(first.scores) == len(table.task.iterations)
    assert first.seconds_per_iteration > 0
    assert table.world(3).curve(configs[0]) == first
    assert table.world(4).curve(configs[0]).scores != first.scores
    noise = [world.curve(values).scores[-1] - world.true_score(values) for values in configs]
    assert 0.0 < np.nanstd(noise) < 0.5 * (world.best - world.median)


def test_without_the_folder_of_curves_their_tables_are_left_out(tmp_path: Path) -> None:
    assert not [name for name in WITHOUT_CURVES if name.startswith(("taskset", "lcbench"))]
