"""Tests of the statistics: areas by hand, paired intervals, and the printed tables."""

import pytest

from benchmarks.search.regret import GRID, Side, area, figures_of, lines_of, paired, table_lines_of
from benchmarks.search.results import Key, Result

OURS, OTHER = Side("ours", "ours", "own"), Side("other", "other", "own")


def result(tool: str, seed: int, regrets: list[float], table: str = "t") -> Result:
    return Result(table, tool, 8, seed, GRID[len(regrets) - 1], {"own": regrets}, 0.1, 10, 1.0, {}, None)


def by_key(*results: Result) -> dict[Key, Result]:
    return {r.key: r for r in results}


def test_the_area_is_the_mean_over_the_compute() -> None:
    assert area([0.5], 1) == 0.75
    assert area([0.5, 0.5, 0.1], 3) == pytest.approx((0.75 + 0.5 + 0.3) / 3)
    assert area([0.5, 0.5, 0.1], 2) == pytest.approx((0.75 + 0.5) / 2)


def test_only_searches_of_both_sides_count_and_tables_count_alike() -> None:
    results = by_key(
        *(result("ours", seed, [0.2]) for seed in range(3)),
        *(result("other", seed, [0.6]) for seed in range(4)),
        result("ours", 0, [0.4], "u"),
        result("other", 0, [0.4], "u"),
        result("other", 0, [0.9], "v"),
    )
    found = paired(results, OTHER, OURS, workers=8, trainings=1)
    assert found is not None
    assert (found.num_searches, set(found.by_table)) == (4, {"t", "u"})
    assert found.area == pytest.approx((0.8 + 0.7) / 2)
    assert found.ratio == pytest.approx((0.8 + 0.7) / (0.6 + 0.7))
    assert paired(results, OTHER, OURS, workers=1, trainings=1) is None
    assert paired(results, OTHER, OURS, workers=8, trainings=2) is None


def test_a_difference_that_holds_in_every_pair_is_significant_though_the_seeds_differ() -> None:
    seeds = range(10)
    results = by_key(
        *(result("ours", seed, [seed / 10]) for seed in seeds),
        *(result("other", seed, [seed / 10 + 0.05 + 0.001 * seed]) for seed in seeds),
    )
    found = paired(results, OTHER, OURS, workers=8, trainings=1)
    assert found is not None
    assert 1.0 < found.interval[0] < found.ratio < found.interval[1] < 1.1
    mean, low, high = found.by_table["t"]
    assert 0.025 < low < mean - 0.725 < high < 0.03


def test_tables_that_disagree_widen_the_interval_even_with_one_seed_each() -> None:
    tables = {"t": 0.2, "u": 0.9, "v": 0.3}
    results = by_key(
        *(result("ours", 0, [0.5], table) for table in tables),
        *(result("other", 0, [regret], table) for table, regret in tables.items()),
    )
    found = paired(results, OTHER, OURS, workers=8, trainings=1)
    assert found is not None
    assert found.interval[0] < 0.9 < 1.1 < found.interval[1]


def test_the_printed_tables_and_figures() -> None:
    seeds = range(5)
    regrets = [0.5] * GRID.index(10) + [0.25]
    results = by_key(
        *(result("ours", seed, regrets) for seed in seeds),
        *(result("other", seed, [0.5] * len(regrets)) for seed in seeds),
    )
    sides = {}
    for side in (OURS, OTHER):
        found = paired(results, side, OURS, workers=8, trainings=10)
        assert found is not None
        sides[side] = found
    assert lines_of(sides, 10) == [
        "| | tables | searches | regret at 10 | area | area, ours = 1 |",
        "|---|---|---|---|---|---|",
        "| ours | 1 | 5 | 0.250 | 0.500 | 1.00 (1.00 to 1.00) |",
        "| other | 1 | 5 | 0.500 | 0.525 | 1.05 (1.05 to 1.05) |",
    ]
    assert table_lines_of(sides)[-1] == "| t | 0.500 | 0.525 > |"
    assert figures_of(sides, 8)["8 workers, other: area, first tool = 1"].value == pytest.approx(1.05)
