"""Conversion of colour masks to class ids by exact look-up; the nearest colour is used only on request."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.config import IGNORE_INDEX
from trainables.data.folder import at_most, shown
from trainables.data.text_table import read_text, separator_of
from trainables.errors import Fault, InputError
from trainables.plurals import counted

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, each in 0..255."""

Number = TypeVar("Number", int, NDArray[np.int32])

UNKNOWN = -1
"""Value that `Palette.ids` returns for a colour that the palette lacks."""


@dataclass(frozen=True)
class Palette:
    """The id of each colour. Several colours may have the same id, and 255 means ignore."""

    colours: Mapping[Colour, int]
    names: Mapping[int, str] = field(default_factory=dict)
    """Names of ids; an id may have none."""

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Ids except 255, each once, in the order of the palette."""
        return tuple(dict.fromkeys(raw for raw in self.colours.values() if raw != IGNORE_INDEX))

    def ids(self, pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Return the id of each pixel, (h, w) int16 in 0..255 or `UNKNOWN`, for (h, w, 3) uint8 RGB."""
        return self._table[packed(pixels)]

    def nearest_ids(self, pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Return the id of the nearest colour for each pixel, by Euclidean distance in RGB: (h, w) int16 in 0..255.

        Args:
            pixels: (h, w, 3) uint8 RGB.
        """
        numbers, places = np.unique(packed(pixels), return_inverse=True)
        found = np.stack(unpacked(numbers), axis=-1).astype(np.int32)  # (U, 3)
        closest = np.zeros(len(found), np.intp)
        least = np.full(len(found), np.iinfo(np.int32).max, np.int32)
        for position, colour in enumerate(self.colours):
            distance = ((found - np.array(colour, np.int32)) ** 2).sum(axis=1)
            closest[distance < least] = position
            least = np.minimum(least, distance)
        ids = np.array(list(self.colours.values()), np.int16)
        return ids[closest[places]].reshape(pixels.shape[:2])

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        table = np.full(1 << 24, UNKNOWN, np.int16)
        for colour, raw in self.colours.items():
            table[packed(np.array(colour, np.uint8))] = raw
        return table


def packed(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Pack RGB into one number, 65536 R + 256 G + B: (...) int32 for (..., 3) uint8."""
    wide = pixels.astype(np.int32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2])


def unpacked(number: Number) -> tuple[Number, Number, Number]:
    """Return the colour, or the colours, that `packed` has packed."""
    return number >> 16, number >> 8 & 0xFF, number & 0xFF


def read_palette(path: Path) -> Palette:
    """Return the palette in a file, in any of the formats that common tools write.

    A text file has a row for each colour, `r, g, b, id[, name]` or `#rrggbb, id[, name]`, separated by commas,
    semicolons, tabs or blanks. With a header, columns may be in any order. CVAT's `labelmap.txt` is such a file. A JSON
    file holds one of the following: a list of such rows, in which the three numbers may form a list of their own; a
    list of objects with the keys of a header; or an object of id or name -> colour. If no row has an id, rows are
    numbered from 0.

    Raises:
        InputError: the file cannot be read; also every row that does not have this form or gives a colour a second id.
    """
    colours: dict[Colour, int] = {}
    names: dict[int, str] = {}
    faults: list[Fault] = []
    rows = list(_json_rows(path) if path.suffix.lower() == ".json" else _text_rows(path))
    has_ids = any(isinstance(row, Mapping) and not _is_absent(row.get("id")) for _, row in rows) or not all(
        isinstance(row, Mapping) for _, row in rows
    )
    for position, (where, row) in enumerate(rows):
        try:
            cells = row if isinstance(row, Mapping) else _cells(row)
            colour = _colour(cells.get("colour"))
            raw = _byte(cells.get("id"), "the id") if has_ids else _byte(position, "the number of the row")
            name = _name(cells.get("name"))
        except _UnfitError as error:
            fix = "write for example 128, 64, 128, 3, road"
            faults.append(Fault(where, f"{_shown_row(row)} is not a row with a colour, an id and a name: {error}", fix))
            continue
        if colours.setdefault(colour, raw) != raw:
            red, green, blue = colour
            what = f"gives the colour {red},{green},{blue} the id {raw}, but an earlier row gives it {colours[colour]}"
            faults.append(Fault(where, what, "keep one of them"))
        if name:
            names.setdefault(raw, name)
    if not colours and not faults:
        faults.append(Fault(shown(path), "holds no colour", "write rows of r, g, b, id[, name]"))
    if faults:
        raise InputError(at_most(faults))
    return Palette(colours, names)


_COLUMNS = {
    "colour": ("colour", "color", "rgb", "color_rgb", "colour_rgb", "hex", "color_hex"),
    "id": ("id", "classid", "class_id", "labelid", "label_id", "index", "class_index", "value", "pixel_value"),
    "name": ("name", "label", "class", "classname", "class_name", "label_name", "title", "category"),
    "r": ("r", "red"),
    "g": ("g", "green"),
    "b": ("b", "blue"),
}
"""Names that other tools use for a column of a table or a key of an object, in lower case."""

_Row: TypeAlias = Mapping[str, Any] | Sequence[Any]
"""Cells of a row, by the keys of `_COLUMNS` or in their order."""


class _UnfitError(Exception):
    """A row that cannot be read; the message says why."""


def _text_rows(path: Path) -> Iterator[tuple[str, _Row]]:
    """Yield the place of each row, and the row."""
    lines = read_text(path).splitlines()
    first = next((line for line in lines if line.strip()), "")
    separator = ":" if _CVAT.match(first) else separator_of(first)
    columns: list[str] | None = None
    is_first = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = line.split(None, 4) if separator is None else next(csv.reader([line], delimiter=separator))
        row = [cell.strip() for cell in row]
        if is_first and not any(cell.isdecimal() or _HEX.fullmatch(cell) or _TRIPLE.fullmatch(cell) for cell in row):
            columns = _columns([cell.lstrip("#").strip() for cell in row])
        elif line.startswith("# "):  # a comment, as CVAT writes them
            continue
        elif columns is None:
            yield f"{shown(path)}: line {number}", row
        else:
            yield f"{shown(path)}: line {number}", _by_column(columns, row)
        is_first = False


def _columns(header: Sequence[str]) -> list[str] | None:
    """Return the key of each column, empty for an unknown one; None if the header has no colour."""
    columns = [_key(name) for name in header]
    return columns if "colour" in columns or {"r", "g", "b"} <= set(columns) else None


def _key(name: str) -> str:
    return next((key for key, names in _COLUMNS.items() if name.strip().lower() in names), "")


def _by_column(columns: Sequence[str], row: Sequence[Any]) -> _Row:
    """Return the cells of a row by column, or the row as it is if it has more or fewer cells than the header."""
    if len(row) > len(columns) or len(row) < len(columns) - columns.count("name"):
        return row
    return _joined(zip(columns, row, strict=False))


def _joined(cells: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the first cell of each key, with red, green and blue combined into one colour."""
    found: dict[str, Any] = {}
    for key, value in cells:
        if key:
            found.setdefault(key, value)
    if {"r", "g", "b"} <= found.keys() and "colour" not in found:
        found["colour"] = [found.pop(key) for key in "rgb"]
    return found


def _json_rows(path: Path) -> Iterator[tuple[str, _Row]]:
    """Yield the place of each row, and the row."""
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError([Fault(shown(path), f"is not valid JSON ({error})", "correct the syntax")]) from error
    if isinstance(document, dict):
        for key, value in document.items():
            given = {"id": key} if key.strip().isdecimal() else {"name": key}
            cells = _joined((_key(name), cell) for name, cell in value.items()) if isinstance(value, dict) else {}
            yield f"{shown(path)}: {shown(Path(key))}", given | (cells or {"colour": value})
        return
    if not isinstance(document, list):
        what = "must be a list of rows, or an object of id -> colour"
        raise InputError([Fault(shown(path), what, 'write [[128, 64, 128, 3, "road"], ...]')])
    for number, row in enumerate(document, start=1):
        where = f"{shown(path)}: row {number}"
        if isinstance(row, dict):
            yield where, _joined((_key(name), cell) for name, cell in row.items())
        else:
            yield where, row if isinstance(row, list) else [row]


def _cells(row: Sequence[Any]) -> Mapping[str, Any]:
    """Return the cells of a row in the usual order, by their keys."""
    has_one = bool(row) and (isinstance(row[0], list) or (isinstance(row[0], str) and bool(_HEX.fullmatch(row[0]))))
    colour, rest = (row[0], row[1:]) if has_one else (row[:3], row[3:])
    if len(rest) not in (1, 2):
        raise _UnfitError(f"it has {counted(len(row), 'cell')}")
    return dict(zip(("colour", "id", "name"), (colour, *rest), strict=False))


def _colour(cell: Any) -> Colour:
    if isinstance(cell, str) and _HEX.fullmatch(cell.strip()):
        digits = cell.strip().lstrip("#")
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if isinstance(cell, str) and _TRIPLE.fullmatch(cell.strip()):
        cell = re.split(r"[\s,]+", cell.strip(" ()[]"))
    if not isinstance(cell, Sequence) or isinstance(cell, str) or len(cell) != 3:
        raise _UnfitError(f"{_shown_row(cell)} is not a colour of three numbers")
    red, green, blue = (_byte(value, "a colour") for value in cell)
    return red, green, blue


def _byte(value: Any, what: str) -> int:
    """Return a whole number in 0..255, or raise."""
    is_number = isinstance(value, str | int) and not isinstance(value, bool)
    try:
        number = int(value) if is_number else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 255:
        raise _UnfitError(f"{_shown_row(value)} is not a number in 0..255 for {what}")
    return number


def _name(cell: Any) -> str:
    if _is_absent(cell):
        return ""
    if isinstance(cell, list | dict):
        raise _UnfitError(f"{_shown_row(cell)} is not a name")
    return str(cell).strip()


def _is_absent(cell: Any) -> bool:
    return cell is None or cell == ""


def _shown_row(row: Any) -> str:
    """Return a row or a cell in JSON, shortened if it is long."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    return shown(Path(text if len(text) <= 80 else f"{text[:80]}..."))


_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
_TRIPLE = re.compile(r"[(\[]?\s*\d+(\s*,\s*|\s+)\d+(\s*,\s*|\s+)\d+\s*[)\]]?")
_CVAT = re.compile(r"(# )?label:color_rgb:|[^,:]*:\d+,\d+,\d+:")
