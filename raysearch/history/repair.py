"""Repairs a damaged journal: a new one keeps every line before the damage, and the damaged one stays beside it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raysearch.errors import Fault, InputError
from raysearch.history.events import Ended, Report, Started
from raysearch.history.journal import DamagedJournal, JournalEnd, in_use, read_facts
from raysearch.history.records import fact_of
from raysearch.history.run_dir import RunDir
from trainables.atomic_files import replaced_file
from trainables.file_locks import try_lock
from trainables.plurals import counted


@dataclass(frozen=True)
class Repair:
    """What a repair of a journal found and did."""

    damage: str
    """Description of the damage, with the number of the first damaged line."""
    num_kept: int
    """Number of lines that the new journal holds."""
    kept_beside: Path
    """The damaged journal."""
    lost: tuple[str, ...]
    """Descriptions of what the damaged lines and those after them recorded, as far as they can be read."""


def repair(run_dir: RunDir) -> Repair | None:
    """Replace a damaged journal by its lines before the damage; return None if it is not damaged.

    Raises:
        InputError: another process is writing the journal, or no line can be kept.
    """
    path = run_dir.journal
    with path.open("r+b") as file:
        if not try_lock(file.fileno()):
            raise in_use(path)
        num_started = 0
        try:
            for fact in read_facts(path):
                num_started += isinstance(fact.event, Started)
            return None
        except DamagedJournal as error:
            damaged = error
        if damaged.line <= 1:
            raise InputError(damaged.faults)
        kept, rest = file.read(damaged.offset), file.read()
        beside = _free_name(path)
        with replaced_file(beside) as part:
            part.write_bytes(kept + rest)
        JournalEnd(path).forget()
        with replaced_file(path) as part:
            part.write_bytes(kept)
    return Repair(f"line {damaged.line} {damaged.what}", damaged.line - 1, beside, tuple(_lost(rest, num_started)))


def _free_name(path: Path) -> Path:
    """Return the first name of a damaged journal that is not taken, so that a second repair keeps both."""
    numbers = (f".{number}" if number > 1 else "" for number in range(1, 10_000))
    candidates = (path.with_name(f"{path.name}.damaged{number}") for number in numbers)
    for candidate in candidates:
        if not candidate.exists():
            return candidate
    raise InputError([Fault(str(path.parent), "holds too many damaged journals", "delete those named *.damaged.*")])


def _lost(rest: bytes, num_started: int) -> Iterator[str]:
    """Yield what some lines recorded; the trials that had started before them are those below `num_started`."""
    reports: dict[int, list[int]] = {}
    ended, num_starts, num_unread = list[int](), 0, 0
    for line in rest.splitlines():
        try:
            fact = fact_of(json.loads(line))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            num_unread += 1
            continue
        if fact is not None and isinstance(fact.event, Started):
            num_starts += 1
        elif fact is not None and isinstance(fact.trial, int):
            reports.setdefault(fact.trial, [])
            if isinstance(fact.event, Report):
                reports[fact.trial].append(fact.event.iteration)
            elif isinstance(fact.event, Ended):
                ended.append(fact.trial)
    last = max(num_started + num_starts - 1, *reports, num_started - 1)
    if last >= num_started:
        count = sum(len(iterations) for number, iterations in reports.items() if number >= num_started)
        trials = f"trial {last}" if last == num_started else f"trials {num_started} to {last}"
        yield f"{trials} with {counted(count, 'report')}"
    for number, iterations in sorted(reports.items()):
        if number < num_started and iterations:
            shown = ", ".join(map(str, iterations))
            yield f"{counted(len(iterations), 'report')} of trial {number}, at iteration {shown}"
        if number < num_started and number in ended:
            yield f"the end of trial {number}"
    if num_unread:
        yield f"{counted(num_unread, 'line')} that can no longer be read"
