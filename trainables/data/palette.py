"""Colour masks to class ids, by exact look-up: a colour outside the palette is an error, never the nearest one."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.config import IGNORE_INDEX
from trainables.data.folder import shown
from trainables.errors import Fault, InputError

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue in 0..255."""

UNKNOWN = -1
"""What `Palette.ids` gives for a colour that the palette does not have."""


@dataclass(frozen=True)
class Palette:
    """The id of every colour; several colours may have one id, and 255 is ignore."""

    colours: Mapping[Colour, int]
    names: Mapping[int, str] = field(default_factory=dict)
    """Name of an id, for those that have one."""

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The ids but for 255, each once, in the order of the palette."""
        return tuple(dict.fromkeys(raw for raw in self.colours.values() if raw != IGNORE_INDEX))

    def ids(self, pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
        """The id of every pixel: (h, w) int16 in 0..255, or `UNKNOWN`, of (h, w, 3) uint8 RGB."""
        return self._table[packed(pixels)]

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        table = np.full(1 << 24, UNKNOWN, np.int16)
        for colour, raw in self.colours.items():
            table[packed(np.array(colour, np.uint8))] = raw
        return table


def packed(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """RGB as one number, 65536 R + 256 G + B: (...) int32 of (..., 3) uint8."""
    wide = pixels.astype(np.int32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2])


def unpacked(number: int) -> Colour:
    """The colour that `packed` made one number of."""
    return number >> 16, number >> 8 & 0xFF, number & 0xFF


def read_palette(path: Path) -> Palette:
    """The palette in a file of rows `r, g, b, id[, name]`: CSV, with or without a header, or a JSON list of lists.

    Raises:
        InputError: the file cannot be read, or every row that is no such row or gives a colour a second id.
    """
    colours: dict[Colour, int] = {}
    names: dict[int, str] = {}
    faults: list[Fault] = []
    for where, row in _rows(path):
        try:
            red, green, blue, raw = (_byte(value) for value in row[:4])
            (name,) = row[4:] or ("",)
        except ValueError:
            what = f"{row!r} is no row of r, g, b, id[, name] with numbers in 0..255"
            faults.append(Fault(where, what, "write for example 128, 64, 128, 3, road"))
            continue
        if colours.setdefault((red, green, blue), raw) != raw:
            what = f"gives the colour {red},{green},{blue} the id {raw}, an earlier row {colours[red, green, blue]}"
            faults.append(Fault(where, what, "keep one of them"))
        if str(name).strip():
            names.setdefault(raw, str(name).strip())
    if not colours and not faults:
        faults.append(Fault(shown(path), "holds no colour", "write rows of r, g, b, id[, name]"))
    if faults:
        raise InputError(faults)
    return Palette(colours, names)


def _rows(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Where a row stands, and the row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise InputError([Fault(shown(path), f"cannot be read ({error})", "name a CSV or JSON file")]) from error
    if path.suffix.lower() != ".json":
        for number, row in enumerate(csv.reader(text.splitlines()), start=1):
            is_header = number == 1 and not any(value.strip().isdecimal() for value in row)
            if any(value.strip() for value in row) and not is_header:
                yield f"{shown(path)}: line {number}", row
        return
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError([Fault(shown(path), f"is no JSON ({error})", "mend the syntax")]) from error
    if not isinstance(document, list):
        raise InputError([Fault(shown(path), "must be a list", 'write [[128, 64, 128, 3, "road"], ...]')])
    for number, row in enumerate(document, start=1):
        yield f"{shown(path)}: row {number}", row if isinstance(row, list) else [row]


def _byte(value: Any) -> int:
    """A number in 0..255; raises ValueError."""
    if isinstance(value, (bool, float)):
        raise ValueError
    number = int(value)
    if not 0 <= number <= 255:
        raise ValueError
    return number
