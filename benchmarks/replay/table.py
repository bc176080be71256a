"""A table of learning curves that were trained: one Parquet file, a row a trial and report.

Columns: `trial`; one for every searched path; `iteration`; `miou` of the weights, `miou_ema` and the list `iou_ema` of
their moving average; `seconds` from the report before to this one; `status`, which is `ok` or `diverged`; `error`. A
trial that diverged ends with a row without scores. Trial 0 is the default config. What the trials have in common stands
in the file's metadata, so that a search over the same space can be made out of the file alone.
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
    """What the trials of a table have in common."""

    name: str
    config: dict[str, Any]
    """The nested base config."""
    space: dict[str, dict[str, Any]]
    """The searched values, as under `space:` in a space file."""
    shared_iters: int
    """Iterations of the beginning in which no searched value takes effect."""

    @cached_property
    def spec(self) -> SearchSpec:
        """The search of a space file that states nothing but the task: all else is the product's default."""
        document = {
            "name": self.name,
            "config": self.config,
            "space": self.space,
            "objective": {"metric": "miou", "mode": "max"},
        }
        return parse_space(document, Path.cwd(), self.name)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The searched values, in the order of the space."""
        return self.spec.parameters

    def values_at(self, point: Sequence[float]) -> dict[str, Any]:
        """The searched values at a point of the unit cube."""
        return {p.path: from_unit(p.distribution, float(u)) for p, u in zip(self.parameters, point, strict=True)}

    def point_of(self, values: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """The point of the unit cube, (D,), at which searched values lie."""
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
    """(n, D) in the unit cube."""
    iterations: tuple[int, ...]
    """Of the reports."""
    scores: npt.NDArray[np.float64]
    """(n, r) mIoU of the moving average; NaN from where a trial diverged."""
    raw_scores: npt.NDArray[np.float64]
    """(n, r) mIoU of the weights themselves."""
    seconds_per_iteration: npt.NDArray[np.float64]
    """(n,); NaN where nothing was reported."""


def write(path: Path, task: Task, rows: Sequence[TrialRow]) -> None:
    """Write a table, its rows in the order of trials and iterations."""
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
    """Read a table; a trial that reports at fewer iterations than others has NaN there."""
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
