"""The tables of a search, with one row per trial or per trial and iteration, as Parquet and as CSV."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    Tables(history).write(run_dir)


def trials_table(history: History) -> pa.Table:
    """Return a table with one row per started trial; see `Tables.trials`."""
    return Tables(history).trials()


def results_table(history: History) -> pa.Table:
    """Return a table with one row per trial and iteration; see `Tables.results`."""
    return Tables(history).results()


class Tables:
    """The tables of a search, which can be made again and again while it runs.

    The rows of a block of consecutive trials are made once when all of these have ended, so that an update makes those
    of the other blocks only.
    """

    def __init__(self, history: History) -> None:
        """Create the tables of a history, which may grow."""
        self._history = history
        self._searched = _Growing(history, _searched_columns)
        self._others = _Growing(history, _trial_columns)
        self._reports = _Growing(history, _report_columns)

    def write(self, run_dir: RunDir) -> None:
        """Write `trials.parquet`, `results.parquet` and a CSV file beside each; every file is replaced as a whole."""
        write_table(self.trials(), run_dir.trials_table)
        blocks = self._reports.blocks()
        results, texts = pa.table(_joined(blocks)), _joined([block.list_texts for block in blocks])
        _write(results, _with_texts(results, texts), run_dir.results_table)

    def trials(self) -> pa.Table:
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
        - with several objectives, every one after the first by its metric's name, at the report of `value`; its column
          is `objective.METRIC` if METRIC is the name of another column; peak memory has a column anyway
        """
        searched, others = self._searched.columns(), self._others.columns()
        columns = {"trial": others["trial"], "status": others["status"], **searched}
        columns |= {name: others[name] for name in _TRIAL_COLUMNS}
        for place, (metric, _) in enumerate(self._history.further, start=1):
            if metric != PEAK_MEMORY:
                name = metric if metric not in columns else f"objective.{metric}"
                columns[name] = others[f"{_OBJECTIVE}{place}"]
        return pa.table(columns)

    def results(self) -> pa.Table:
        """Return a table with one row per trial and iteration: `trial`, `iteration`, `value`, `seconds`, metrics."""
        return pa.table(self._reports.columns())


def pareto_table(history: History) -> pa.Table:
    """Return the rows of `trials_table` that belong to the Pareto set, the best by the first objective first."""
    return trials_table(history).take([trial.number for trial in pareto_set(history)])


def reports_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return a table of rows of named numbers or lists of numbers; a number that a row lacks is null."""
    return pa.table(_joined([_columns_of(rows)]))


def write_reports(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the reports of one training as a table."""
    write_table(reports_table(rows), path)


def write_table(table: pa.Table, path: Path) -> None:
    """Replace a table on disk as a whole, and the CSV file beside it, in which lists are JSON text."""
    texts = {field.name: _texts(table[place]) for place, field in enumerate(table.schema) if _is_list(field.type)}
    _write(table, _with_texts(table, texts), path)


def _with_texts(table: pa.Table, texts: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    return pa.table({name: texts.get(name, table[name]) for name in table.column_names})


def _write(table: pa.Table, as_csv: pa.Table, path: Path) -> None:
    with replaced_file(path) as part:
        pq.write_table(table, part)
    with replaced_file(path.with_suffix(".csv")) as part:
        pacsv.write_csv(as_csv, part)


_BLOCK = 256
"""Number of consecutive trials whose rows are made together."""

_TRIAL_COLUMNS: Mapping[str, pa.DataType] = {
    "value": pa.float64(),
    "best_iteration": pa.int64(),
    "iterations": pa.int64(),
    "seconds": pa.float64(),
    "peak_memory_bytes": pa.int64(),
    "error": pa.string(),
    "audited": pa.bool_(),
    "breaks": pa.string(),
    "origin": pa.string(),
    "iterations_shared": pa.int64(),
}
_REPORT_COLUMNS: Mapping[str, pa.DataType] = {"trial": pa.int64(), "iteration": pa.int64(), "value": pa.float64()}

_OBJECTIVE = "objective "
"""Beginning of the names under which further objectives are kept until all names are known."""


@dataclass(frozen=True)
class _Columns:
    """Some rows by column; a column without any value has no type yet."""

    num_rows: int
    arrays: Mapping[str, pa.Array]
    as_text: frozenset[str] = frozenset()
    """Columns whose values became text because they are lists or have several types."""

    @cached_property
    def list_texts(self) -> "_Columns":
        """Those columns that are lists, as JSON text."""
        return _Columns(self.num_rows, {name: _texts(a) for name, a in self.arrays.items() if _is_list(a.type)})

    def form(self, name: str) -> tuple[pa.DataType, bool] | None:
        """Return the type of a column and whether its values became text; None if it has no value."""
        array = self.arrays.get(name)
        return None if array is None or pa.types.is_null(array.type) else (array.type, name in self.as_text)

    def column(self, name: str, kind: pa.DataType) -> pa.Array:
        """Return a column with a type."""
        return pa.nulls(self.num_rows, kind) if self.form(name) is None else self.arrays[name].cast(kind)


class _Growing:
    """Columns of all trials of a history that grows, made block by block."""

    def __init__(self, history: History, make: Callable[[Sequence[TrialHistory], History], _Columns]) -> None:
        self._history = history
        self._make = make
        self._ended: dict[int, _Columns] = {}
        """Full blocks of trials that have all ended, by the number of the first trial."""

    def columns(self) -> dict[str, pa.ChunkedArray]:
        """Return all columns."""
        return _joined(self.blocks())

    def blocks(self) -> list[_Columns]:
        """Return the columns block by block, or in one block made anew if the types in the blocks differ."""
        trials = self._history.trials
        blocks = [self._block(first) for first in range(0, len(trials), _BLOCK)]
        return blocks if blocks and _can_be_joined(blocks) else [self._made(trials)]

    def _block(self, first: int) -> _Columns:
        if first in self._ended:
            return self._ended[first]
        trials = self._history.trials[first : first + _BLOCK]
        block = self._made(trials)
        if len(trials) == _BLOCK and all(trial.status != "running" for trial in trials):
            self._ended[first] = block
        return block

    def _made(self, trials: Sequence[TrialHistory]) -> _Columns:
        return self._make(trials, self._history)


_NUMBERS = {(pa.int64(), False), (pa.float64(), False)}


def _forms(name: str, blocks: Sequence[_Columns]) -> set[tuple[pa.DataType, bool]]:
    return {form for block in blocks if (form := block.form(name)) is not None}


def _can_be_joined(blocks: Sequence[_Columns]) -> bool:
    """Return False if a whole column would have another type than its parts."""
    forms = [_forms(name, blocks) for name in {name for block in blocks for name in block.arrays}]
    return all(len(of_one) <= 1 or of_one == _NUMBERS for of_one in forms)


def _joined(blocks: Sequence[_Columns]) -> dict[str, pa.ChunkedArray]:
    """Return the columns of several blocks one after the other."""
    columns = {}
    for name in dict.fromkeys(name for block in blocks for name in block.arrays):
        forms = _forms(name, blocks)
        kind = next(iter(forms))[0] if len(forms) == 1 else pa.float64()
        columns[name] = pa.chunked_array([block.column(name, kind) for block in blocks], kind)
    return columns


def _searched_columns(trials: Sequence[TrialHistory], history: History) -> _Columns:
    """Return the searched values by dotted path; if some choices are lists, all values become JSON text."""
    arrays, as_text = {}, set()
    for path in dict.fromkeys(path for trial in trials for path in trial.values):
        values = [trial.values.get(path) for trial in trials]
        if any(isinstance(value, list) for value in values):
            values = [None if value is None else json.dumps(value) for value in values]
            as_text.add(path)
        arrays[path], is_text = _array(values)
        if is_text:
            as_text.add(path)
    return _Columns(len(trials), arrays, frozenset(as_text))


def _trial_columns(trials: Sequence[TrialHistory], history: History) -> _Columns:
    """Return all other columns of trials."""
    rows = [_trial_row(trial, history) for trial in trials]
    kinds = {"trial": pa.int64(), "status": pa.string(), **_TRIAL_COLUMNS}
    kinds |= {f"{_OBJECTIVE}{place}": pa.float64() for place in range(1, len(history.modes))}
    return _Columns(len(rows), {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})


def _trial_row(trial: TrialHistory, history: History) -> dict[str, Any]:
    best, values = trial.best(history.mode), history.values_of(trial)
    row: dict[str, Any] = {
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
    further = [None] * len(history.further) if values is None else values[1:]
    return row | {f"{_OBJECTIVE}{place}": value for place, value in enumerate(further, start=1)}


def _report_columns(trials: Sequence[TrialHistory], history: History) -> _Columns:
    """Return the columns of the reports of trials, one row for each."""
    return _columns_of(
        [
            {
                "trial": trial.number,
                "iteration": report.iteration,
                "value": report.value,
                "seconds": report.seconds,
                **report.metrics,
            }
            for trial in trials
            for report in sorted(trial.reports.values(), key=lambda report: report.iteration)
        ]
    )


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> _Columns:
    arrays, as_text = {}, set()
    for name in dict.fromkeys([*_REPORT_COLUMNS, *(name for row in rows for name in row)]):
        values = [row.get(name) for row in rows]
        if name in _REPORT_COLUMNS:
            arrays[name] = pa.array(values, _REPORT_COLUMNS[name])
            continue
        arrays[name], is_text = _array(values)
        if is_text:
            as_text.add(name)
    return _Columns(len(rows), arrays, frozenset(as_text))


def _array(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    """Return a column of the type that all its values share, and False; values of several types become text: True."""
    kinds = {bool if isinstance(v, bool) else type(v) for v in values if v is not None}
    if kinds == {int, float}:
        return pa.array([None if v is None else float(v) for v in values]), False
    if len(kinds) > 1:
        return pa.array([None if v is None else str(v) for v in values]), True
    return pa.array(values), False


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind))


def _texts(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return lists as JSON text, in which infinities and NaN are null."""
    return pa.array([None if numbers is None else _json(numbers) for numbers in column.to_pylist()], pa.string())


def _json(numbers: Sequence[Any]) -> str:
    finite = [None if isinstance(n, float) and not math.isfinite(n) else n for n in numbers]
    return json.dumps(finite, separators=(",", ":"))
