"""The journal: an append-only file of JSON lines with one writer. It is the only record of a search.

Rungs, the samplers' studies, tables and the report are functions of these lines in their order.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from raysearch.errors import Fault, InputError
from raysearch.history.events import Event
from raysearch.history.records import Fact, fact_of, lines_of
from trainables.file_locks import try_lock


class Record(Protocol):
    """The record of a search, which holds its events in order."""

    def facts(self) -> Iterable[Fact]:
        """Return all recorded facts."""
        ...

    def write(self, event: Event, trial: int | None = None) -> Iterable[Fact]:
        """Record an event, and return the facts that it adds.

        Args:
            event: The event.
            trial: Number of the running trial that it concerns.
        """
        ...


class MemoryRecord:
    """A record in memory, for a search that is simulated or whose results are stored elsewhere."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        """Create a record that holds some facts."""
        self._facts = list(facts)

    def facts(self) -> Iterable[Fact]:
        """Return the facts that the record was created with."""
        return self._facts

    def write(self, event: Event, trial: int | None = None) -> Iterable[Fact]:
        """Return the event with the time of day; nothing is stored, because the search keeps what it needs."""
        return (Fact(event, trial, time.time()),)


class Journal:
    """The journal file, opened by its only writer.

    Opening takes an exclusive lock, which the system releases when the process ends in any way. It also cuts off an
    incomplete last line, which a write leaves behind if the process is killed. Every append is one write and one fsync.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` for writing and create it if it does not exist.

        Raises:
            InputError: another process is writing it, or it cannot be written.
        """
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            what = f"cannot be opened for writing ({error.strerror})"
            raise InputError([Fault(str(path), what, "make its folder writable")]) from None
        if not try_lock(self._file):
            os.close(self._file)
            raise InputError(
                [Fault(str(path), "another raysearch is running this search", "wait for it, or stop it first")]
            ) from None
        whole = _length_of_whole_lines(path)
        if whole != os.fstat(self._file).st_size:
            os.ftruncate(self._file, whole)
        os.lseek(self._file, 0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock."""
        os.close(self._file)

    def facts(self) -> Iterator[Fact]:
        """Yield the facts in the file; see `read_facts`."""
        return read_facts(self.path)

    def write(self, event: Event, trial: int | None = None) -> list[Fact]:
        """Append the lines of an event, and return its facts once they are on disk.

        Raises:
            OSError: the disk is full or fails; the file then holds none of these lines.
        """
        records = lines_of(event, trial)
        self.append(records)
        return [fact for record in records if (fact := fact_of(record)) is not None]

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records, one line each, and return when they are on disk.

        Raises:
            OSError: the disk is full or fails; the file then holds none of these records.
        """
        data = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
        before = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            os.lseek(self._file, 0, os.SEEK_END)
            raise


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of a journal in order; an incomplete last line is skipped.

    Raises:
        InputError: there is no journal, or a line in it is damaged.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError([Fault(str(path), "no such journal", "name the folder of a run")]) from None
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict) or "op_code" not in record:
                raise InputError(
                    [
                        Fault(
                            f"{path}: line {number}",
                            "is not a line of a search journal",
                            "restore the file from a copy",
                        )
                    ]
                )
            yield record


def read_facts(path: Path) -> Iterator[Fact]:
    """Yield the facts that a journal records, in order.

    Raises:
        InputError: there is no journal, or a line in it is damaged.
    """
    return (fact for record in read_records(path) if (fact := fact_of(record)) is not None)


def _length_of_whole_lines(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        end = file.tell()
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
