"""Statistics over finished searches: mean regrets, areas under regret curves, paired bootstrap intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.record import Figure
from benchmarks.search.results import Key, Result
from benchmarks.search.task import Array

GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90, 100)
"""Numbers of full trainings' worth of compute at which regrets are taken."""
SHOWN = (10, 25, 50, 100)
"""Those that are printed."""
_NUM_BOOTSTRAPS = 2000
_FEWEST_SEEDS = 5
"""Number of seeds from which on a difference on a table can be called significant."""


@dataclass(frozen=True)
class Side:
    """A tool with a rule of naming."""

    label: str
    tool: str
    rule: str


@dataclass(frozen=True)
class Paired:
    """The searches of a side and of the first one that have the same tables and seeds."""

    num_searches: int
    regrets: Mapping[int, float]
    """Mean regret by the number of full trainings, averaged over the tables."""
    area: float
    """Area under the regret curve, averaged over the tables."""
    ratio: float
    """The area divided by that of the first side."""
    interval: tuple[float, float]
    """95 % interval of the ratio; the tables and the seeds of each are drawn again, the same for both sides."""
    by_table: Mapping[str, tuple[float, float, float]]
    """Area on every table, and the 95 % interval of its difference from the first side's."""


def area(regrets: Sequence[float], trainings: int) -> float:
    """Return the mean regret over the compute from 0 to `trainings`, by the trapezoidal rule; at 0 the regret is 1."""
    points = [0, *(point for point in GRID if point <= trainings)]
    return float(np.trapezoid([1.0, *regrets[: len(points) - 1]], points)) / points[-1]


def paired(results: Mapping[Key, Result], side: Side, first: Side, workers: int, trainings: int) -> Paired | None:
    """Compare a side with the first one; None if no table and seed has a search of both that ran far enough."""
    common: dict[str, list[tuple[Result, Result]]] = {}
    for key, result in sorted(results.items()):
        other = results.get(key._replace(tool=first.tool))
        if key.tool != side.tool or key.workers != workers or other is None:
            continue
        if min(result.trainings, other.trainings) >= trainings:
            common.setdefault(key.table, []).append((result, other))
    if not common:
        return None
    areas = {
        table: np.array(
            [[area(r.regrets[side.rule], trainings), area(o.regrets[first.rule], trainings)] for r, o in pairs]
        )
        for table, pairs in common.items()
    }
    drawn = {table: _means_of_draws(both) for table, both in areas.items()}
    own, others = _means_over_drawn_tables(np.array(list(drawn.values()))).T
    means = np.mean([both.mean(axis=0) for both in areas.values()], axis=0)
    return Paired(
        num_searches=sum(map(len, common.values())),
        regrets={
            point: float(
                np.mean(
                    [np.mean([r.regrets[side.rule][GRID.index(point)] for r, _ in pairs]) for pairs in common.values()]
                )
            )
            for point in SHOWN
            if point <= trainings
        },
        area=float(means[0]),
        ratio=float(means[0] / means[1]),
        interval=_interval(own / others),
        by_table={
            table: (float(both[:, 0].mean()), *_difference(drawn[table], len(both))) for table, both in areas.items()
        },
    )


def _means_of_draws(pairs: Array) -> Array:
    """Return the means (bootstraps, 2) of seeds that are drawn again from pairs (seeds, 2)."""
    places = np.random.default_rng(0).integers(len(pairs), size=(_NUM_BOOTSTRAPS, len(pairs)))
    means: Array = pairs[places].mean(axis=1)
    return means


def _means_over_drawn_tables(drawn: Array) -> Array:
    """Return the means (bootstraps, 2) over tables that are drawn again from (tables, bootstraps, 2)."""
    num_tables, num_bootstraps, _ = drawn.shape
    places = np.random.default_rng(1).integers(num_tables, size=(num_tables, num_bootstraps))
    means: Array = drawn[places, np.arange(num_bootstraps)].mean(axis=0)
    return means


def _difference(drawn: Array, num_seeds: int) -> tuple[float, float]:
    return _interval(drawn[:, 0] - drawn[:, 1]) if num_seeds >= _FEWEST_SEEDS else (-math.inf, math.inf)


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def lines_of(found: Mapping[Side, Paired], trainings: int) -> list[str]:
    """Return the table over all tables together."""
    first = next(iter(found)).label
    shown = [point for point in SHOWN if point <= trainings]
    lines = [
        f"| | tables | searches | {' | '.join(f'regret at {point}' for point in shown)} | area | area, {first} = 1 |",
        "|---" * (len(shown) + 5) + "|",
    ]
    for side, p in found.items():
        regrets = [f"{p.regrets[point]:.3f}" for point in shown]
        ratio = f"{p.ratio:.2f} ({p.interval[0]:.2f} to {p.interval[1]:.2f})"
        cells = [side.label, str(len(p.by_table)), str(p.num_searches), *regrets, f"{p.area:.3f}", ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def table_lines_of(found: Mapping[Side, Paired]) -> list[str]:
    """Return the areas by table; `<` marks one significantly smaller than the first side's, `>` a larger one."""
    tables = list(dict.fromkeys(table for p in found.values() for table in p.by_table))
    lines = [f"| area | {' | '.join(side.label for side in found)} |", "|---" * (len(found) + 1) + "|"]
    for table in tables:
        cells = [_cell(p.by_table.get(table)) for p in found.values()]
        lines.append(f"| {table} | {' | '.join(cells)} |")
    return lines


def _cell(found: tuple[float, float, float] | None) -> str:
    if found is None:
        return ""
    mean, low, high = found
    return f"{mean:.3f}" + (" <" if high < 0 else " >" if low > 0 else "")


def figures_of(found: Mapping[Side, Paired], workers: int) -> dict[str, Figure]:
    """Return the area of every side, and its ratio to that of the first side with the interval."""
    figures = {}
    for side, p in found.items():
        name = f"{workers} workers, {side.label}"
        figures[f"{name}: area under the regret curve"] = Figure(p.area, "", "lower")
        figures[f"{name}: area, first tool = 1"] = Figure(p.ratio, "", "lower", p.interval)
    return figures
