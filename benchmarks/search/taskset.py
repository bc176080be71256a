"""TaskSet (Metz et al., arXiv 2002.11887): 1,000 recorded trainings of a task; a config trains as its nearest one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.search.task import Array, Curve, Task, point_of

TASKS = (
    "patch128_LSTM128_avg_bs64",
    "patch128_LSTM128_embed128_bs64",
    "patch32_GRU64_avg_bs128",
    "patch32_IRNN64_relu_last_bs128",
    "patch32_LSTM128_bs128",
    "patch32_VRNN64_relu_avg_bs128",
)

_LOG = ("learning_rate", "epsilon", "l1", "l2", "linear_decay", "exponential_decay")
_NEAR_ONE = ("beta1", "beta2")
"""Columns that were drawn as 1 - b on a logarithmic scale, and are searched so."""
_NUM_STEPS = 51


class TaskSet:
    """One task, and its one world: it is the same for every seed."""

    def __init__(self, curves: Path, name: str) -> None:
        """Read the trainings of a task from the folder of curves."""
        rows = pq.read_table(curves / "taskset" / f"{name}.parquet").to_pandas()
        columns = {column: rows[column].to_numpy(float) for column in _LOG}
        columns |= {f"one_minus_{column}": 1.0 - rows[column].to_numpy(float) for column in _NEAR_ONE}
        space = {
            path: {"type": "float", "low": float(values.min()), "high": float(values.max()), "log": True}
            for path, values in columns.items()
        }
        self.task = Task(f"taskset-{name}", space, tuple(range(1, _NUM_STEPS + 1)))
        self._spec = self.task.spec(seed=0)
        losses = np.stack([rows[f"valid_loss_{step:02d}"].to_numpy(float) for step in self.task.iterations], axis=1)
        with np.errstate(invalid="ignore"):
            self._scores = np.where(np.isfinite(losses), -losses, np.nan)
        diverged = np.isnan(self._scores).cumsum(axis=1) > 0
        self._scores[diverged] = np.nan
        self._points = np.array(
            [point_of(self._spec, dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        )
        untrained = float(np.nanmedian(self._scores[:, 0]))
        self._finals: Array = np.fmax(self._scores[:, -1], untrained)
        self.best, self.median = float(self._finals.max()), float(np.median(self._finals))

    def world(self, seed: int) -> "TaskSet":
        """Return the table itself."""
        return self

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """Return the recorded curve of the nearest config."""
        return Curve(tuple(float(score) for score in self._scores[self._nearest(values)]), 1.0)

    def true_score(self, values: Mapping[str, Any]) -> float:
        """Return the recorded final score of the nearest config.

        A training that diverged, or that ended worse than an untrained network, counts as an untrained network.
        """
        return float(self._finals[self._nearest(values)])

    def _nearest(self, values: Mapping[str, Any]) -> int:
        """Return the row of the recorded config that is nearest in the unit cube."""
        return int(((self._points - point_of(self._spec, values)) ** 2).sum(axis=1).argmin())
