"""The tables of a search, with one row per trial or per trial and iteration, as Parquet and as CSV."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from raysearch.history.history import History, TrialHistory
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.history.pareto import pareto_set
from raysearch.history.run_dir import RunDir
from trainables.atomic_files import replaced_file


def write_tables(history: History, run_dir: RunDir) -> None:
    """Write `trials.parquet`, `results.parquet` and a CSV file beside each; every file is replaced as a whole."""
    write_table(trials_table(history), run_dir.trials_table)
    write_table(results_table(history), run_dir.results_table)


def trials_table(history: History) -> pa.Table:
    """Return a table with one row per started trial, ordered by the trial's number.

    Columns:
    - `trial`, `status`
    - every searched value by its dotted path; null if its condition did not hold; JSON text if some value is a list
    - `value`: the best value so far, and `best_iteration`, the iteration that reached it
    - `iterations`, `seconds`: the trial's iterations and its own training time
    - `peak_memory_bytes`, `error`
    - `audited`: True if the trial continued where it would have been stopped
    - `breaks`: the violated constraints on reported metrics
    - `origin`: where the values come from; null if an algorithm proposed them
    - `iterations_shared`: those of `iterations` that another trial had trained already
    - with several objectives, every one after the first by its metric's name, at the report of `value`; its column is
      `objective.METRIC` if METRIC is the name of another column; peak memory has a column anyway
    """
    paths = list(dict.fromkeys(path for trial in history.trials for path in trial.values))
    rows = [_trial_row(trial, history) for trial in history.trials]
    columns: dict[str, pa.Array] = {
        "trial": pa.array([row["trial"] for row in rows], pa.int64()),
        "status": pa.array([row["status"] for row in rows], pa.string()),
    }
    for path in paths:
        columns[path] = _searched_array([trial.values.get(path) for trial in history.trials])
    for name, kind in (
        ("value", pa.float64()),
        ("best_iteration", pa.int64()),
        ("iterations", pa.int64()),
        ("seconds", pa.float64()),
        ("peak_memory_bytes", pa.int64()),
        ("error", pa.string()),
        ("audited", pa.bool_()),
        ("breaks", pa.string()),
        ("origin", pa.string()),
        ("iterations_shared", pa.int64()),
    ):
        columns[name] = pa.array([row[name] for row in rows], kind)
    values = [history.values_of(trial) for trial in history.trials]
    for place, (metric, _) in enumerate(history.further, start=1):
        if metric != PEAK_MEMORY:
            name = metric if metric not in columns else f"objective.{metric}"
            columns[name] = pa.array(
                [None if of_trial is None else of_trial[place] for of_trial in values], pa.float64()
            )
    return pa.table(columns)


def pareto_table(history: History) -> pa.Table:
    """Return the rows of `trials_table` that belong to the Pareto set, the best by the first objective first."""
    return trials_table(history).take([trial.number for trial in pareto_set(history)])


def _trial_row(trial: TrialHistory, history: History) -> dict[str, Any]:
    best = trial.best(history.mode)
    return {
        "trial": trial.number,
        "status": trial.status,
        "value": best.value if best else None,
        "best_iteration": best.iteration if best else None,
        "iterations": trial.last.iteration if trial.last else 0,
        "seconds": sum(report.seconds for report in trial.reports.values()),
        "peak_memory_bytes": trial.peak_memory_bytes,
        "error": trial.error,
        "audited": trial.is_audited,
        "breaks": "; ".join(trial.broken(history.mode)) or None,
        "origin": trial.origin,
        "iterations_shared": trial.iterations_shared,
    }


def results_table(history: History) -> pa.Table:
    """Return a table with one row per trial and iteration: `trial`, `iteration`, `value`, `seconds`, other metrics."""
    return reports_table(
        [
            {
                "trial": trial.number,
                "iteration": report.iteration,
                "value": report.value,
                "seconds": report.seconds,
                **report.metrics,
            }
            for trial in history.trials
            for report in sorted(trial.reports.values(), key=lambda report: report.iteration)
        ]
    )


def reports_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return a table of rows of named numbers or lists of numbers; a number that a row lacks is null."""
    fixed = {"trial": pa.int64(), "iteration": pa.int64(), "value": pa.float64()}
    names = list(dict.fromkeys([*fixed, *(name for row in rows for name in row)]))
    return pa.table(
        {
            name: pa.array([row.get(name) for row in rows], fixed[name])
            if name in fixed
            else _array([row.get(name) for row in rows])
            for name in names
        }
    )


def write_reports(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the reports of one training as a table."""
    write_table(reports_table(rows), path)


def _searched_array(values: Sequence[Any]) -> pa.Array:
    """Return the column of a searched value; if some choices are lists, all values become JSON text."""
    if any(isinstance(value, list) for value in values):
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
    return _array(values)


def _array(values: Sequence[Any]) -> pa.Array:
    """Return a column of the type that all its values share; values of several types become text."""
    kinds = {bool if isinstance(v, bool) else type(v) for v in values if v is not None}
    if kinds == {int, float}:
        values = [None if v is None else float(v) for v in values]
    elif len(kinds) > 1:
        values = [None if v is None else str(v) for v in values]
    array = pa.array(values)
    return pa.array([float(v) if v is not None else None for v in values]) if pa.types.is_null(array.type) else array


def write_table(table: pa.Table, path: Path) -> None:
    """Replace a table on disk as a whole, and the CSV file beside it, in which lists are JSON text."""
    with replaced_file(path) as part:
        pq.write_table(table, part)
    with replaced_file(path.with_suffix(".csv")) as part:
        pacsv.write_csv(_without_lists(table), part)


def _without_lists(table: pa.Table) -> pa.Table:
    """Return the table with lists as JSON text, in which infinities and NaN are null."""
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [None if numbers is None else _json(numbers) for numbers in table[place].to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


def _json(numbers: Sequence[Any]) -> str:
    finite = [None if isinstance(n, float) and not math.isfinite(n) else n for n in numbers]
    return json.dumps(finite, separators=(",", ":"))
