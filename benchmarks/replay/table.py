"""A table of measured learning curves: one Parquet file with one row per trial and report.

Columns: `trial`; one for every searched path; `iteration`; `miou` of the weights; `miou_ema` and the list `iou_ema` of
their moving average; `seconds` since the previous report; `status`, which is `ok` or `diverged`; `error`. The last row
of a trial that diverged has no scores. Trial 0 is the default config. The metadata of the file holds what the trials
have in common, so that a search over the same space can be created from the file alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.algorithms.unit_cube import from_unit, to_unit
from raysearch.space.parameters import Parameter
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

_METADATA = b"replay"


@dataclass(frozen=True)
class Task:
    """The config, space and shared iterations that the trials of a table have in common."""

    name: str
    config: dict[str, Any]
    """Nested base config."""
    space: dict[str, dict[str, Any]]
    """Searched values in the form of `space:` in a space file."""
    shared_iters: int
    """Number of first iterations in which no searched value has an effect."""

    @cached_property
    def spec(self) -> SearchSpec:
        """Search of a space file that only states the task; all else is the product's default."""
        document = {
            "name": self.name,
            "config": self.config,
            "space": self.space,
            "objective": {"metric": "miou", "mode": "max"},
        }
        return parse_space(document, Path.cwd(), self.name)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Searched values, in the order of the space."""
        return self.spec.parameters

    def values_at(self, point: Sequence[float]) -> dict[str, Any]:
        """Return the searched values at a point of the unit cube."""
        return {p.path: from_unit(p.distribution, float(u)) for p, u in zip(self.parameters, point, strict=True)}

    def point_of(self, values: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """Return the point of the unit cube, (D,), of searched values."""
        return np.array([to_unit(p.distribution, values[p.path]) for p in self.parameters])  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrialRow:
    """One report of one trial."""

    trial: int
    values: Mapping[str, Any]
    iteration: int
    seconds: float
    miou: float | None = None
    miou_ema: float | None = None
    iou_ema: Sequence[float] | None = None
    error: str | None = None

    @property
    def status(self) -> Literal["ok", "diverged"]:
        return "ok" if self.error is None else "diverged"


@dataclass(frozen=True)
class Table:
    """The learning curves of n trials with r reports each."""

    task: Task
    points: npt.NDArray[np.float64]
    """(n, D) points in the unit cube."""
    iterations: tuple[int, ...]
    """Iterations of the reports."""
    scores: npt.NDArray[np.float64]
    """(n, r) mIoU of the moving average; NaN from the report at which a trial diverged."""
    raw_scores: npt.NDArray[np.float64]
    """(n, r) mIoU of the weights themselves."""
    seconds_per_iteration: npt.NDArray[np.float64]
    """(n,) seconds per iteration; NaN without a report."""


def write(path: Path, task: Task, rows: Sequence[TrialRow]) -> None:
    """Write a table with its rows in the order of trials and iterations."""
    paths = list(task.space)
    rows = sorted(rows, key=lambda row: (row.trial, row.iteration))
    columns: dict[str, list[Any]] = {"trial": [row.trial for row in rows]}
    columns |= {searched: [row.values[searched] for row in rows] for searched in paths}
    for name in ("iteration", "miou", "miou_ema", "iou_ema", "seconds", "status", "error"):
        columns[name] = [getattr(row, name) for row in rows]
    types = {"iou_ema": pa.list_(pa.float64()), "error": pa.string(), "miou": pa.float64(), "miou_ema": pa.float64()}
    arrays = {name: pa.array(values, type=types.get(name)) for name, values in columns.items()}
    common = {"name": task.name, "config": task.config, "space": task.space, "shared_iters": task.shared_iters}
    table = pa.table(arrays).replace_schema_metadata({_METADATA: json.dumps(common)})
    pq.write_table(table, path, compression="zstd")


def read(path: Path) -> Table:
    """Read a table; a trial that reports at fewer iterations than others has NaN at the missing ones."""
    stored = pq.read_table(path)
    task = Task(**json.loads(stored.schema.metadata[_METADATA]))
    rows = stored.to_pylist()
    trials = {row["trial"]: row for row in rows}
    iterations = tuple(sorted({row["iteration"] for row in rows if row["miou_ema"] is not None}))
    place = {trial: i for i, trial in enumerate(sorted(trials))}
    scores = np.full((len(trials), len(iterations)), math.nan)
    raw_scores, seconds = scores.copy(), scores.copy()
    for row in rows:
        if row["miou_ema"] is not None:
            at = place[row["trial"]], iterations.index(row["iteration"])
            scores[at], raw_scores[at], seconds[at] = row["miou_ema"], row["miou"], row["seconds"]
    lengths = np.diff(np.array([task.shared_iters, *iterations]))
    reported = np.isfinite(seconds)
    total = np.where(reported, seconds, 0.0).sum(axis=1)
    trained = (reported * lengths).sum(axis=1)
    return Table(
        task=task,
        points=np.array([task.point_of(trials[trial]) for trial in sorted(trials)]),
        iterations=iterations,
        scores=scores,
        raw_scores=raw_scores,
        seconds_per_iteration=np.where(trained > 0, total / np.maximum(trained, 1), math.nan),
    )
