"""The journal: an append-only file of JSON lines with one writer. It is the only record of a search.

Rungs, the samplers' studies, tables and the report are functions of these lines in their order. Every line carries a
checksum (`chain.py`), so that damage is found before anything is computed from it.
"""

import contextlib
import errno
import json
import os
import shlex
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from raysearch.errors import Fault, InputError
from raysearch.history import chain
from raysearch.history.event_order import EventOrder, MisplacedEvent
from raysearch.history.events import Event
from raysearch.history.records import Fact, fact_of, lines_of
from trainables.atomic_files import sync
from trainables.file_locks import try_lock
from trainables.plurals import counted


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


class DamagedJournal(InputError):
    """A journal that does not hold the lines that were written to it."""

    def __init__(self, path: Path, line: int, offset: int, what: str) -> None:
        """Create the error.

        Args:
            path: The journal.
            line: Number of the first line that is damaged or missing, from 1.
            offset: Number of bytes before that line.
            what: What is wrong with it.
        """
        fix = "restore the file from a copy"
        if line > 1:
            kept = "line 1" if line == 2 else f"lines 1 to {line - 1}"
            fix += f", or keep {kept} with `raysearch repair {shlex.quote(str(path.parent))}`"
        super().__init__([Fault(f"{path}: line {line}", what, fix)])
        self.line, self.offset, self.what = line, offset, what


class Journal:
    """The journal file, opened by its only writer.

    Opening takes an exclusive lock, which the system releases when the process ends in any way. It also checks all
    lines, cuts off an incomplete last line, which a write leaves behind if the process is killed, and forces all others
    to the disk. Every append is one write and one fsync.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` for writing and create it if it does not exist.

        Raises:
            InputError: another process is writing it, it cannot be written, or it is damaged.
        """
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            what = f"cannot be opened for writing ({error.strerror})"
            raise InputError([Fault(str(path), what, "make its folder writable")]) from None
        try:
            if not try_lock(self._file):
                raise in_use(path)
            self._num_lines, whole, self._checksum = _checked(path)
            if whole != os.fstat(self._file).st_size:
                os.ftruncate(self._file, whole)
            os.lseek(self._file, 0, os.SEEK_END)
            os.fsync(self._file)  # a line that a killed process wrote but did not sync is about to be acted on
            sync(path.parent)
            self._end = JournalEnd(path)
            self._is_unsure = False
        except OSError as error:
            os.close(self._file)
            what = f"cannot be opened for writing ({error.strerror})"
            raise InputError([Fault(str(path), what, "make its folder writable")]) from None
        except BaseException:
            os.close(self._file)
            raise

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
            OSError: the disk is full or fails; the file then holds none of these records. After a failed fsync nobody
                knows what the disk holds, and every later append fails too.
        """
        if self._is_unsure:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self.path))
        lines, checksum = list[bytes](), self._checksum
        for record in records:
            line, checksum = chain.sealed(record, checksum)
            lines.append(line)
        data = b"".join(lines)
        before = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
            self._is_unsure = True
            os.fsync(self._file)
            self._is_unsure = False
        except OSError:
            os.ftruncate(self._file, before)
            os.lseek(self._file, 0, os.SEEK_END)
            raise
        self._num_lines, self._checksum = self._num_lines + len(lines), checksum
        self._end.write(self._num_lines, checksum)


def in_use(path: Path) -> InputError:
    """Return the error for a journal that another process is writing."""
    return InputError([Fault(str(path), "another raysearch is running this search", "wait for it, or stop it first")])


class JournalEnd:
    """The file beside a journal that says how many lines were written to it, and the checksum of the last one.

    Without it, a journal that lost its last lines would look like that of an earlier moment. It is never ahead of the
    journal, since it is written after it. It may be behind: it is not synced, and a kill may come in between.
    """

    def __init__(self, journal: Path) -> None:
        """Name the file that belongs to a journal."""
        self._path = journal.with_name(f"{journal.name}.end")

    def write(self, num_lines: int, checksum: bytes) -> None:
        """Replace the content; a failure is no error, because the file is only a second witness."""
        text = b"%012d %16s" % (num_lines, checksum)
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.pwrite(file, b"%s %08x\n" % (text, zlib.crc32(text)), 0)
            finally:
                os.close(file)

    def forget(self) -> None:
        """Delete the file, because a repair shortens the journal."""
        self._path.unlink(missing_ok=True)

    def read(self) -> tuple[int, bytes]:
        """Return the number of lines and the last checksum; 0 lines if the file is missing or damaged."""
        try:
            text, _, crc = self._path.read_bytes().rpartition(b" ")
            if int(crc, 16) == zlib.crc32(text):
                num_lines, checksum = text.split()
                return int(num_lines), checksum
        except (OSError, ValueError):
            pass
        return 0, chain.START


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of a journal in order, without their checksums; an incomplete last line is skipped.

    Raises:
        InputError: there is no journal, or it is damaged.
    """
    for line in _whole_lines(path):
        yield _record_in(line, path)


def read_facts(path: Path) -> Iterator[Fact]:
    """Yield the facts that a journal records, in order.

    Raises:
        InputError: there is no journal, or it is damaged.
    """
    order = EventOrder()
    for line in _whole_lines(path):
        record = _record_in(line, path)
        try:
            fact = fact_of(record)
            if fact is not None:
                order.take(fact)
        except MisplacedEvent as error:
            raise DamagedJournal(path, line.number, line.offset, str(error)) from None
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise DamagedJournal(path, line.number, line.offset, _NO_LINE) from None
        if fact is not None:
            yield fact


_NO_LINE = "is not a line of a search journal"


class _Line(NamedTuple):
    number: int
    offset: int
    """Number of bytes before the line."""
    text: bytes
    checksum: bytes


def _whole_lines(path: Path) -> Iterator[_Line]:
    """Yield the complete lines of a journal whose checksums match."""
    num_written, last_written = JournalEnd(path).read()  # first: a search may append lines in the meantime
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError([Fault(str(path), "no such journal", "name the folder of a run")]) from None
    number, offset, checksum, has_checksums = 0, 0, chain.START, False
    with file:
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):
                if _is_whole(text[:-1] + b"\n", checksum):
                    raise DamagedJournal(path, number, offset, "does not end in a line break")
                number -= 1
                break
            found = chain.checksum_of(text, checksum)
            if found is None:
                what = "does not match its checksum: this line, or one before it, was changed, removed or moved"
                raise DamagedJournal(path, number, offset, what)
            if has_checksums and not chain.is_sealed(text):
                raise DamagedJournal(path, number, offset, "has no checksum, unlike the lines before it")
            if number == num_written and found != last_written:
                raise DamagedJournal(path, number, offset, "is not the line that was written there")
            has_checksums = chain.is_sealed(text)
            yield _Line(number, offset, text, found)
            offset, checksum = offset + len(text), found
    if number < num_written:
        what = f"is missing: {counted(num_written, 'line was', 'lines were')} written, and the journal has {number}"
        raise DamagedJournal(path, number + 1, offset, what)


def _is_whole(line: bytes, before: bytes) -> bool:
    """Return True if a line is complete."""
    if chain.is_sealed(line):
        return chain.checksum_of(line, before) is not None
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _checked(path: Path) -> tuple[int, int, bytes]:
    """Return the number of complete lines, their number of bytes, and the last checksum."""
    num_lines, length, checksum = 0, 0, chain.START
    for line in _whole_lines(path):
        num_lines, length, checksum = line.number, line.offset + len(line.text), line.checksum
    return num_lines, length, checksum


def _stored_int(digits: str) -> int:
    """Return a whole number that tables can hold.

    Raises:
        ValueError: it is larger.
    """
    if len(digits) > _MAX_DIGITS:
        raise ValueError(digits)
    return int(digits)


_MAX_DIGITS = 18


def _record_in(line: _Line, path: Path) -> dict[str, Any]:
    try:  # what was sealed was written here; other numbers may have any number of digits
        record = json.loads(line.text) if chain.is_sealed(line.text) else json.loads(line.text, parse_int=_stored_int)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "op_code" not in record:
        raise DamagedJournal(path, line.number, line.offset, _NO_LINE)
    if chain.is_sealed(line.text):
        del record["raysearch"][chain.KEY]
    return record
