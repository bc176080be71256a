"""Reads a table of the user's notes, CSV or Parquet: one training per row, with some config values and a score.

The name of a column is a dotted path of the trial config or one of these: the score (the objective's metric, `score` or
`value`, the first that exists), `iteration` or `max_iters`, `dataset`, and `note`, `notes` or `comment` for free text.
The columns of a search's own `trials.parquet` are also accepted. Empty cells are ignored. Rows are counted from the
header, which is row 1.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList
from raysearch.config.strict_yaml import kind_of, parse_value
from raysearch.config.values import show
from raysearch.errors import Fault, InputError
from raysearch.history.history import History
from raysearch.history.tables import trials_table
from raysearch.space.parameters import range_of
from raysearch.space.spec import SearchSpec
from trainables.dotted_paths import leaves
from trainables.plurals import counted
from trainables.spelling import nearest

_SCORES = ("score", "value")
_ITERATIONS = ("iteration", "max_iters")
_DATASET = "dataset"
_FREE_TEXT = ("note", "notes", "comment")


@dataclass(frozen=True)
class NotesRow:
    """The content of one row that a search can use."""

    number: int
    values: Mapping[str, Any]
    """Values of searched paths; numbers for numeric parameters."""
    score: float | None
    iterations: str
    """Iterations as written; empty if the row has none."""
    dataset: str
    """Dataset as written; empty if the row has none."""


@dataclass(frozen=True)
class NotesTable:
    """The rows of a table, and its columns with config paths that are not searched."""

    rows: tuple[NotesRow, ...]
    not_searched: tuple[str, ...]


def read_notes(path: Path, spec: SearchSpec) -> NotesTable:
    """Return the rows of a table with the values of the searched paths.

    Raises:
        InputError: the file cannot be read, a column is unknown, or a cell does not fit its column.
    """
    names, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    faults = FaultList(str(path))
    searched, not_searched = _columns(names, spec, faults)
    score = next((name for name in (spec.objectives[0].metric, *_SCORES) if name in names), None)
    if score is None:
        what = "no column holds the score"
        faults.add((), what, f"name it {spec.objectives[0].metric}, score or value")
    distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
    found = []
    for number, row in enumerate(rows, start=2):
        cells = dict(zip(names, row, strict=False))
        if len(row) != len(names):
            what = f"has {counted(len(row), 'cell')} for {counted(len(names), 'column')}"
            faults.extend([Fault(f"{path}: row {number}", what, "")])
            continue
        wrong: list[Fault] = []
        values = {}
        for name, searched_path in searched.items():
            cell = _cell(cells[name], distributions[searched_path])
            if cell is None:
                continue
            misfit = _misfit(cell, distributions[searched_path])
            if misfit is not None:
                wrong.append(Fault(f"{path}: row {number}: {name}", *misfit))
            values[searched_path] = cell
        value = None if score is None else _cell(cells[score], None)
        if value is not None and not _is_number(value):
            what = f"{show(value)} is {kind_of(value)}, but a score is a number"
            wrong.append(Fault(f"{path}: row {number}: {score}", what, "give a number, or leave the cell empty"))
        faults.extend(wrong)
        if not wrong:
            iterations = next((str(cells[name]) for name in _ITERATIONS if not _is_empty(cells.get(name))), "")
            dataset = "" if _is_empty(cells.get(_DATASET)) else str(cells[_DATASET])
            found.append(NotesRow(number, values, value, iterations, dataset))
    faults.raise_any({})
    return NotesTable(tuple(found), not_searched)


def _read_csv(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows: list[Sequence[Any]] = list(csv.reader(file, strict=True))
    except UnicodeDecodeError as error:
        raise InputError([Fault(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")]) from None
    except (OSError, csv.Error) as error:
        raise InputError([Fault(str(path), f"cannot be read: {error}", "save it as CSV again")]) from None
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise InputError([Fault(str(path), "is empty", "its first row must name the columns")])
    return [str(name).strip() for name in rows[0]], rows[1:]


def _read_parquet(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError([Fault(str(path), f"cannot be read: {reason}", "save it as Parquet again")]) from None
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, list(zip(*columns, strict=True))


def _columns(names: Sequence[str], spec: SearchSpec, faults: FaultList) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the searched path of each column that has one, and the config paths that are not searched."""
    tree = ConfigTree(spec.trainable.config_model)
    paths = [parameter.path for parameter in spec.parameters]
    others = tree.paths if tree.model is not None else tuple(path for path, _ in leaves(spec.config))
    besides = (spec.objectives[0].metric, *_SCORES, *_ITERATIONS, _DATASET, *_FREE_TEXT)
    besides += tuple(name for name in trials_table(History()).column_names if name not in besides)
    searched: dict[str, str] = {}
    not_searched = []
    for index, name in enumerate(names):
        path = tree.resolve(name).path
        if not name:
            fix = "name it, for example note, or leave it out (pandas: to_csv(..., index=False))"
            where = f"{faults.source}: column {index + 1} of {len(names)}"
            faults.extend([Fault(where, "has no name in the first row", fix)])
        elif name in names[:index] or path in searched.values():
            faults.extend([Fault(f"{faults.source}: column {name}", "is given a second time", "keep one")])
        elif path in paths:
            searched[name] = path
        elif name in besides:
            continue
        elif path in others:
            not_searched.append(name)
        else:
            known = [*paths, *besides, *others]
            what = "is neither a value of the trial config nor another known column of notes"
            fix = nearest(name, known) or "name it by its dotted path, or move it into a column named note"
            faults.extend([Fault(f"{faults.source}: column {name}", what, fix)])
    return searched, tuple(not_searched)


def _cell(cell: Any, distribution: BaseDistribution | None) -> Any:
    """Return the value of a cell; text is read as YAML unless it is a choice."""
    if _is_empty(cell):
        return None
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if isinstance(distribution, CategoricalDistribution) and text in distribution.choices:
        return text
    try:
        return parse_value(text)
    except ValueError:
        return text


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in ("", "nan")
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _misfit(value: Any, distribution: BaseDistribution) -> tuple[str, str] | None:
    """Return what is wrong with a value of a numeric parameter, and the fix; a value outside the range is allowed."""
    if isinstance(distribution, CategoricalDistribution):
        return None
    kind = "whole numbers are" if isinstance(distribution, IntDistribution) else "numbers are"
    if _is_number(value) and not (isinstance(distribution, IntDistribution) and value != int(value)):
        return None
    what = f"{show(value)} is not valid here: {kind} searched, {range_of(distribution)}"
    return what, "give one, or leave the cell empty"
