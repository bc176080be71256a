"""File with the names of a dataset's classes, stored in the dataset: rows of `id,name`."""

import csv
from collections.abc import Mapping
from pathlib import Path

from trainables.data.folder import shown
from trainables.errors import Fault, InputError

CLASS_LIST = "classes.csv"
"""Name of the file, which lies beside train/ and val/."""


def write_class_list(folder: Path, names: Mapping[int, str]) -> None:
    """Write the name of each class id of a dataset, in order."""
    with (folder / CLASS_LIST).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "name"), *names.items()])


def read_class_list(folder: Path) -> dict[int, str]:
    """Return class id -> name from the dataset's own list, in its order; empty if it has no list.

    Raises:
        InputError: every row that is not a class id and a name, or that repeats an id.
    """
    path = folder / CLASS_LIST
    if not path.is_file():
        return {}
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError([Fault(shown(path), f"cannot be read ({error})", "write rows of id,name")]) from error
    names: dict[int, str] = {}
    faults: list[Fault] = []
    for number, row in enumerate(rows, start=1):
        if not row or (number == 1 and row[0].strip().lower() == "id"):
            continue
        where = f"{shown(path)}: line {number}"
        if len(row) != 2 or not row[0].strip().isdecimal() or not 0 <= int(row[0]) <= 254 or not row[1].strip():
            faults.append(
                Fault(where, f"{','.join(row)!r} is not a row id,name with an id in 0..254", "correct the row")
            )
        elif int(row[0]) in names:
            faults.append(Fault(where, f"contains the id {int(row[0])} a second time", "keep one of them"))
        else:
            names[int(row[0])] = row[1].strip()
    if faults:
        raise InputError(faults)
    return names
