"""The tables by name, and the two halves into which they are split."""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.search import lcbench, recorded, taskset
from benchmarks.search.synthetic import synthetic
from benchmarks.search.task import Table

Half = Literal["development", "published"]

_FOLDER = Path(__file__).parent
_OURS = ("camvid-gp", "camvid-forest", "drawn-forest", "drawn-gp")
_TASKSET = tuple(f"taskset-{task}" for task in taskset.TASKS)
_SYNTHETIC = ("conditional-14", "conditional-16", "hartmann6", "ackley", "branin")
_LCBENCH = tuple(f"lcbench-{dataset}" for dataset in lcbench.DATASETS)
_NUM_LCBENCH = 4
"""Number of data sets of LCBench in each half unless all tables are wanted; every second one has added noise."""

FIRST_SEED: dict[Half, int] = {"development": 0, "published": 1000}


def names(half: Half, *, all_tables: bool, curves: bool) -> list[str]:
    """Return the tables of a half: every second one of each list, from the first or from the second on.

    Args:
        half: Half of the tables.
        all_tables: True for all data sets of LCBench, each with and without noise, instead of a few.
        curves: True if there is a folder of curves, without which TaskSet and LCBench are left out.
    """
    offset = 0 if half == "development" else 1
    found = [*_OURS[offset::2], *_SYNTHETIC[offset::2]]
    if not curves:
        return found
    datasets = list(_LCBENCH[offset::2])
    if all_tables:
        datasets = [name for dataset in datasets for name in (dataset, f"{dataset}-noisy")]
    else:
        chosen = np.random.default_rng(offset).choice(len(datasets), _NUM_LCBENCH, replace=False)
        datasets = [datasets[place] + "-noisy" * (i % 2) for i, place in enumerate(sorted(chosen))]
    return [*found, *_TASKSET[offset::2], *datasets]


@cache
def table(name: str, curves: Path | None) -> Table:
    """Return a table by its name; a process reads or fits it once."""
    family, _, rest = name.partition("-")
    match family:
        case "camvid" | "drawn":
            trainings = recorded.read(_FOLDER / f"{family}.parquet", rest)
            return recorded.GaussianTable(trainings) if rest == "gp" else recorded.ForestTable(trainings)
        case "taskset" if curves:
            return taskset.TaskSet(curves, rest)
        case "lcbench" if curves:
            dataset, _, noisy = rest.partition("-")
            return lcbench.LCBench(curves, dataset, noisy=bool(noisy))
    return synthetic(name)
