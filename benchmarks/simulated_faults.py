"""Searches on a disk, a clock and workers that fail as a number decides: nothing reported may be lost.

    python -m benchmarks.simulated_faults                      1,000 searches
    python -m benchmarks.simulated_faults --count 1000000      a million of them; begins at --first
    python -m benchmarks.simulated_faults --only 4711          one of them again, with every fault that it met

Each search writes its journal, checkpoints, tables and best config through the code that a real one uses, and is
interrupted up to four times before it may finish: killed before or after any system call, cut off from power, or ended
by a call that fails (a full disk, a failed write, fsync, rename or truncate). After a power cut, what was not synced is
there in part: renames and deletions up to some moment, file contents up to some byte or with blocks missing. Between
two runs a bit of the journal or of a checkpoint may flip. Workers die, hang, and report twice.

After every run: all facts that the search acted on are in the journal, which holds nothing but what was written; no
ended trial trains again; every file is whole or absent; every ending is one of those that a user is told. In the end,
a search with one worker equals the undisturbed one.
"""

import argparse
import contextlib
import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import record
from benchmarks.record import Figure
from raysearch.errors import InputError
from raysearch.history.events import Report
from raysearch.history.history import History, read_history
from raysearch.history.journal import DamagedJournal, Journal, read_facts
from raysearch.history.records import Fact
from raysearch.history.repair import repair
from raysearch.history.run_dir import STATE_FILE, RunDir
from raysearch.history.tables import write_tables
from raysearch.results.export import write_best
from raysearch.schedulers import Decision
from raysearch.search.loop import SearchHalted, SearchLoop
from raysearch.search.run import Run
from raysearch.search.search import MAX_WORKERS_LOST, Proposal, Search
from raysearch.search.work import Assignment, Work
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import put_folder, write_text
from trainables.checksums import damage, write_checksums

MAX_FAULTS = 4
"""Largest number of interruptions of one search."""

_BLOCK = 512
_TRAINABLE = """
from pydantic import BaseModel

class Simulated:
    class Config(BaseModel):
        x: float = 0.5
        kind: str = "a"

    METRICS = frozenset({"score"})
"""


def main() -> None:
    """Run searches and print what they met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of searches (1,000)")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="number of the first search (0)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only the search of this number")
    record.add_option(parser)
    arguments = parser.parse_args()
    first, count = (arguments.first, arguments.count) if arguments.only is None else (arguments.only, 1)
    met, num_failures, begun = Counter[str](), 0, time.monotonic()
    for number in range(first, first + count):
        try:
            found = simulate(number)
        except Exception:
            num_failures += 1
            print(f"search {number} failed; `python -m benchmarks.simulated_faults --only {number}` repeats it")
            print(traceback.format_exc() if arguments.only is not None else traceback.format_exc().splitlines()[-1])
            sys.stdout.flush()
            continue
        met.update(found)
        if arguments.only is not None:
            print("\n".join(found))
    seconds = time.monotonic() - begun
    print(f"{count} searches in {seconds:.0f} s, {num_failures} failures; faults met:")
    for fault, times in sorted(met.items()):
        print(f"  {times:8} {fault}")
    record.write("simulated_faults", arguments, {"failures": Figure(num_failures, "searches", "lower")})
    sys.exit(num_failures > 0)


def simulate(number: int) -> list[str]:
    """Run the search of a number to its end, and return the faults that it met.

    Raises:
        AssertionError: something was lost.
    """
    rng = random.Random(number)
    num_workers = rng.choice([1, 1, 2, 3])
    with _folder() as folder:
        search = _Simulation(folder, rng, num_workers)
        for _ in range(rng.randint(1, MAX_FAULTS)):
            search.run(_Fault.drawn(rng))
            search.flip_a_bit()
        search.run(None)
        history = search.check()
        if num_workers == 1 and not search.is_beyond_comparison:
            assert _comparable(history) == _undisturbed(), "the search ended otherwise than the undisturbed one"
        return search.met


class _Ended(BaseException):
    """The process is gone: nothing of it runs any more."""


class _Fault:
    """A fault at one system call of a run, or at some calls in a row."""

    def __init__(self, kind: str, calls: range, error: int, rng: random.Random) -> None:
        self.kind, self.calls, self.error, self.rng = kind, calls, error, rng

    @classmethod
    def drawn(cls, rng: random.Random) -> "_Fault":
        kind = rng.choice(["kill", "power cut", "failed call"])
        error = rng.choice([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
        first = rng.randrange(rng.choice([20, 120, 500]))
        return cls(kind, range(first, first + rng.choice([1, 2, 4, 10**9])), error, rng)


class _Disk:
    """The system calls below a folder: they are counted, fail when it is their turn, and can be undone by a power cut.

    What a call writes goes to real files. A power cut undoes calls, newest first, down to one that was not synced.
    """

    _NAMES = ("open", "write", "pwrite", "fsync", "ftruncate", "replace", "rename", "unlink", "mkdir", "rmdir", "link")

    def __init__(self, folder: Path, fault: _Fault | None, synced: dict[int, bytes]) -> None:
        self._folder, self._fault, self._synced = str(folder), fault, synced
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in self._NAMES}
        self._num_calls = 0
        self._is_dead = False
        self._undo: list[Callable[[], None]] = []
        """Functions that undo the changes of names that are not synced, oldest first."""
        self._graves, self._numbers = tempfile.mkdtemp(dir=folder.parent), itertools.count()
        self.met: str | None = None

    def __enter__(self) -> "_Disk":
        for name in self._NAMES:
            setattr(os, name, self._wrapped(name))
        return self

    def __exit__(self, *_: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*arguments: Any, **words: Any) -> Any:
            path = self._path(name, arguments, words)
            if path is None or not path.startswith(self._folder):
                return real(*arguments, **words)
            if self._is_dead:
                raise _Ended
            is_turn = self._fault is not None and self._num_calls in self._fault.calls
            self._num_calls += 1
            if is_turn:
                assert self._fault is not None
                self._fail(name, self._fault, arguments, words)
            before = self._remembered(name, path, arguments, words)
            result = real(*arguments, **words)
            self._note(name, path, arguments, before)
            if is_turn:
                self._is_dead = True
                raise _Ended
            return result

        return call

    def _path(self, name: str, arguments: Sequence[Any], words: dict[str, Any]) -> str | None:
        if name in ("write", "pwrite", "fsync", "ftruncate"):
            return os.readlink(f"/proc/self/fd/{arguments[0]}")
        base = words.get("dir_fd")
        path = os.fspath(arguments[0])
        return os.path.join(os.readlink(f"/proc/self/fd/{base}"), path) if base is not None else str(path)

    def _fail(self, name: str, fault: _Fault, arguments: Sequence[Any], words: dict[str, Any]) -> None:
        """Raise an error in place of a call, or return to let it happen before the process ends."""
        if self.met is None:
            self.met = f"{fault.kind} at {name}"
            self.met += f" ({errno.errorcode[fault.error]})" if fault.kind == "failed call" else ""
        if fault.kind != "failed call":
            if fault.rng.random() < 0.5:
                if name == "write" and fault.rng.random() < 0.5:  # ends in the middle of it
                    self._real["write"](arguments[0], arguments[1][: fault.rng.randrange(len(arguments[1]))])
                self._is_dead = True
                raise _Ended
            return
        if name == "write" and fault.rng.random() < 0.5:
            self._real["write"](arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise OSError(fault.error, os.strerror(fault.error))

    def _remembered(self, name: str, path: str, arguments: Sequence[Any], words: dict[str, Any]) -> str | None:
        """Keep what a call removes; return where, or `new` for a file that is about to be created."""
        if name == "open" and arguments[1] & os.O_CREAT:
            return None if os.path.exists(path) else "new"
        gone = str(arguments[1]) if name in ("replace", "rename") else path if name == "unlink" else None
        if gone is None or not os.path.isfile(gone):
            return None
        grave = os.path.join(self._graves, str(next(self._numbers)))
        self._real["link"](gone, grave)
        return grave

    def _note(self, name: str, path: str, arguments: Sequence[Any], grave: str | None) -> None:
        """Note how a call is undone."""
        match name:
            case "fsync" if os.path.isdir(path):
                self._undo.clear()
            case "fsync":
                self._synced[os.stat(path).st_ino] = Path(path).read_bytes()
            case "open" if grave == "new":
                self._undo.append(lambda: self._real["unlink"](path))
            case "replace" | "rename":
                source, target = str(arguments[0]), str(arguments[1])

                def back() -> None:
                    self._real["rename"](target, source)
                    if grave is not None:
                        self._real["rename"](grave, target)

                self._undo.append(back)
            case "unlink":
                assert grave is not None
                self._undo.append(lambda: self._real["rename"](grave, path))
            case "mkdir":
                self._undo.append(lambda: shutil.rmtree(path, ignore_errors=True))
            case "rmdir":
                self._undo.append(lambda: self._real["mkdir"](path))

    def cut_power(self, rng: random.Random) -> None:
        """Leave on the disk what a power cut may leave."""
        for undo in reversed(self._undo[rng.randint(0, len(self._undo)) :]):
            with contextlib.suppress(OSError):
                undo()
        for folder, _, names in os.walk(self._folder):
            for name in names:
                file = Path(folder, name)
                now, before = file.read_bytes(), self._synced.get(file.stat().st_ino, b"")
                if now != before:
                    file.write_bytes(_torn(before, now, rng))
                    self._synced[file.stat().st_ino] = file.read_bytes()


def _torn(before: bytes, now: bytes, rng: random.Random) -> bytes:
    """Return what a power cut may leave of a file: the synced content, and some of what was written since."""
    if not now.startswith(before):
        return before if rng.random() < 0.5 else now
    return now[: rng.randint(len(before), len(now))]


class _Simulation:
    """One search with its folder, over all of its runs."""

    def __init__(self, folder: Path, rng: random.Random, num_workers: int) -> None:
        self.rng, self.num_workers = rng, num_workers
        self.spec = _spec()
        self.dir = RunDir(folder / "run")
        self.met: list[str] = []
        self.is_beyond_comparison = False
        """True if a trial lost too many workers, or the start of the journal."""
        self._acted: list[Fact] = []
        """Facts that the search acted on, and that must therefore be in the journal."""
        self._synced: dict[int, bytes] = {}
        self._lost: Counter[int] = Counter()

    def run(self, fault: _Fault | None) -> None:
        """Run the search until it is finished or a fault ends it."""
        disk = _Disk(self.dir.root, fault, self._synced)
        try:
            with disk:
                self._run()
        except _Ended:
            pass
        except (SearchHalted, OSError, InputError):  # what the driver tells
            assert fault is not None
            assert fault.kind == "failed call"
        if disk.met is not None:
            assert fault is not None
            self.met.append(disk.met)
            if fault.kind == "power cut":
                disk.cut_power(self.rng)
        self.check()

    def _run(self) -> None:
        if not self.dir.space.is_file():
            self.dir.root.mkdir(exist_ok=True)
            self.dir.trials.mkdir(exist_ok=True)
            write_text(self.dir.space, self.spec.to_yaml())
        with Journal(self.dir.journal) as journal:
            search = Search(self.spec, _Watched(journal, self._acted))
            _Executor(self).run(SearchLoop(search, self._assignment, lambda changed: None))
            write_tables(search.history, self.dir)
            write_best(Run(self.dir, self.spec, search.history))

    def _assignment(self, proposal: Proposal) -> Assignment:
        number = proposal.number
        assert proposal.trial.status == "running", "an ended trial trains again"
        return Assignment(number, "", proposal.config, self.dir.trial(number), None, proposal.restorable)

    def check(self) -> History | None:
        """Check that nothing is lost, and return the history."""
        if not self.dir.journal.exists() or not self.dir.journal.stat().st_size:
            assert not self._acted, "the journal is gone"
            return None
        facts = list(read_facts(self.dir.journal))
        assert facts[: len(self._acted)] == self._acted, "a fact that was acted on is not in the journal"
        assert len(facts) <= len(self._acted) + 1, "the journal holds what was not written"
        for table in (self.dir.trials_table, self.dir.results_table):
            if table.exists():
                pq.read_table(table)
        if self.dir.best_config.exists():
            json.loads(self.dir.best_config.read_text(encoding="utf-8"))
        if self.dir.best_checkpoint.exists():
            assert (self.dir.best_checkpoint / "state").read_text(encoding="ascii"), "an exported file is empty"
        return read_history(self.dir.journal)

    def flip_a_bit(self) -> None:
        """Flip a bit of the journal or of a checkpoint; the former is repaired as the message says."""
        if self.rng.random() < 0.7:
            return
        files = [path for path in self.dir.root.rglob("*") if path.is_file() and path.suffix != ".damaged"]
        files = [path for path in files if path == self.dir.journal or "trials" in path.parts]
        if not files:
            return
        file = self.rng.choice(
            [self.rng.choice(sorted(files)), *([self.dir.journal] if self.dir.journal in files else [])]
        )
        content = bytearray(file.read_bytes())
        if not content:
            return
        before = list(read_facts(self.dir.journal)) if file == self.dir.journal else []
        at = self.rng.randrange(len(content))
        content[at] ^= 1 << self.rng.randrange(8)
        file.write_bytes(content)
        self._synced[file.stat().st_ino] = bytes(content)
        self.met.append("flipped bit in " + ("the journal" if file == self.dir.journal else "a checkpoint"))
        if file != self.dir.journal:
            return
        try:
            facts = list(read_facts(file))
        except DamagedJournal as damaged:
            if damaged.line > 1:
                assert repair(self.dir) is not None
                self._acted[:] = list(read_facts(file))
            else:  # nothing can be kept: the search begins again
                shutil.rmtree(self.dir.root)
                self._acted.clear()
                self._lost.clear()
            for path in self.dir.root.rglob("study.journal*"):
                self._synced[path.stat().st_ino] = path.read_bytes()
        else:
            assert facts == before, "a flipped bit was believed; only one in an incomplete last line is harmless"


class _Watched:
    """The journal, with a note of every fact that the search acts on."""

    def __init__(self, journal: Journal, acted: list[Fact]) -> None:
        self._journal, self._acted = journal, acted

    def facts(self) -> Iterator[Fact]:
        """Yield what an opened journal holds, which the search acts on from now on."""
        self._acted[:] = self._journal.facts()
        yield from self._acted[:]

    def write(self, event: Any, trial: int | None = None) -> list[Fact]:
        written = self._journal.write(event, trial)
        self._acted.extend(written)
        return written


class _Executor:
    """Workers that write checkpoints as real ones do, and that die, hang, and report twice."""

    def __init__(self, simulation: _Simulation) -> None:
        self._simulation, self._rng = simulation, simulation.rng

    def run(self, work: Work) -> None:
        running: list[_Worker] = []
        while True:
            while len(running) < self._simulation.num_workers and (assignment := work.next()) is not None:
                running.append(_Worker(assignment))
            if not running:
                return
            worker = running.pop(self._rng.randrange(len(running)))
            number, lost = worker.assignment.number, self._simulation._lost
            if self._rng.random() < 0.05 and lost[number] + 1 < MAX_WORKERS_LOST:
                lost[number] += 1
                self._simulation.met.append("dead worker")
                work.lost(number, "died")
                continue
            report = worker.step()
            decision = work.take(number, report)
            if self._rng.random() < 0.05 and decision is Decision.CONTINUE:
                self._simulation.met.append("repeated report")
                decision = work.take(number, report)
            if decision is Decision.CONTINUE:
                running.append(worker)
            work.tick()


class _Worker:
    """A trial whose score depends on every one of its iterations, so that a wrong restart shows."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._state, self._iteration = hashlib.blake2b(repr(assignment.config).encode()).hexdigest(), 0
        for iteration, _, name in sorted(assignment.reports, reverse=True):
            folder = assignment.folder / name
            if folder.is_dir() and damage(folder) is None:
                self._state, self._iteration = (folder / "state").read_text(encoding="ascii"), iteration
                break

    def step(self) -> Report:
        self._iteration += 1
        self._state = hashlib.blake2b(f"{self._state} {self._iteration}".encode()).hexdigest()
        name = f"checkpoint-{self._iteration:08d}"
        part = self.assignment.folder / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        (part / "state").write_text(self._state, encoding="ascii")
        (part / STATE_FILE).write_text("{}", encoding="ascii")
        write_checksums(part)
        put_folder(part, self.assignment.folder / name)
        value = int(self._state[:8], 16) / 2**32 + self._iteration
        return Report(self._iteration, value, {}, name, 0.5, False)


@cache
def _spec() -> SearchSpec:
    folder = Path(tempfile.mkdtemp())
    (folder / "simulated.py").write_text(_TRAINABLE, encoding="utf-8")
    document: dict[str, Any] = {
        "name": "simulated",
        "trainable": "simulated.py:Simulated",
        "space": {
            "x": {"type": "float", "low": 0.0, "high": 1.0},
            "kind": {"type": "categorical", "choices": ["a", "b"]},
        },
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 5, "seed": 3},
        "scheduler": {"name": "asha", "grace_iters": 1, "reduction_factor": 2, "max_iters": 4, "audit_fraction": 0},
    }
    return parse_space(document, folder, "simulated.yaml")


@cache
def _undisturbed() -> list[Any]:
    with _folder() as folder:
        simulation = _Simulation(folder, random.Random(0), 1)
        simulation._lost = Counter(dict.fromkeys(range(100), MAX_WORKERS_LOST))
        simulation.run(None)
        return _comparable(simulation.check())


def _comparable(history: History | None) -> list[Any]:
    """Return what a search with one worker must end with, whatever happened on its way."""
    assert history is not None
    assert history.is_finished
    return [
        (trial.number, trial.status, trial.values, trial.end_order, sorted(trial.reports.items()))
        for trial in history.trials
    ]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None) as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
