"""How much damage of a journal is found: flipped bits, and lines that were deleted, exchanged, repeated or cut off.

    python -m benchmarks.journal_damage                    1,500 flips of each journal, and every line
    python -m benchmarks.journal_damage --flips 100000     more of them

Each damaged copy is opened as `report` and `resume` do, the tables included. Damage is found if that ends with one
message, and harmless if all facts are those of the undamaged journal. It is believed if neither holds. The journal is
that of a search with early stopping, infeasible trials and retries, once with checksums and once without, as version
0.2 wrote it. The cost of checksums is measured on 100,000 lines.
"""

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Literal

from benchmarks import record
from benchmarks.record import Figure
from raysearch.errors import InputError
from raysearch.history import chain
from raysearch.history.events import Ended, Report
from raysearch.history.history import read_history
from raysearch.history.journal import Journal, MemoryRecord, read_facts, read_records
from raysearch.history.records import Fact
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_tables
from raysearch.schedulers import Decision
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

Outcome = Literal["found", "harmless", "believed", "traceback"]

_TRAINABLE = """
from pydantic import BaseModel

class Formula:
    class Config(BaseModel):
        x: float = 0.9
        n: int = 3
        kind: str = "a"

    METRICS = frozenset({"score", "loss"})
"""
_LINES_OF_COST = 100_000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1500, help="flipped bits for each journal (1500)")
    parser.add_argument("--seed", type=int, default=0)
    record.add_option(parser)
    arguments = parser.parse_args()
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in journals(Path(folder)).items():
            print(f"\n{name}: {len(path.read_bytes().splitlines())} lines, {path.stat().st_size} bytes")
            for kind, counts in outcomes(path, arguments.flips, None, arguments.seed).items():
                total = counts.total()
                print(f"  {kind:10} {total:6}: " + ", ".join(f"{counts[o]} {o}" for o in _OUTCOMES))
                figures[f"{name}, {kind}: believed"] = Figure(counts["believed"] / total, "share", "lower")
                figures[f"{name}, {kind}: traceback"] = Figure(counts["traceback"] / total, "share", "lower")
        for name, seconds in cost(Path(folder)).items():
            print(f"{name}: {seconds * 1e6:.1f} microseconds a line")
            figures[f"{name}, a line"] = Figure(seconds * 1e6, "us", "lower")
    record.write("journal_damage", arguments, figures)


_OUTCOMES: tuple[Outcome, ...] = ("found", "harmless", "believed", "traceback")


def journals(folder: Path) -> dict[str, Path]:
    """Write the journal of a search with and without checksums; return both by name."""
    spec = spec_in(folder)
    chained, plain = folder / "chained" / "study.journal", folder / "plain" / "study.journal"
    for path in (chained, plain):
        path.parent.mkdir()
    with Journal(chained) as journal:
        search = Search(spec, journal)
        _run(search)
        search.retry_failed()
        _run(search)
    plain.write_bytes(b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in _plain(chained)))
    return {"with checksums": chained, "without checksums": plain}


def outcomes(path: Path, num_flips: int, num_lines: int | None, seed: int) -> dict[str, Counter[Outcome]]:
    """Return how often damage of each kind had each outcome.

    Args:
        path: The journal that is damaged, and restored in the end.
        num_flips: Number of flipped bits.
        num_lines: Number of lines at which the other kinds of damage are tried; None for all.
        seed: Seed of the places.
    """
    content, expected = path.read_bytes(), list(read_facts(path))
    counts: dict[str, Counter[Outcome]] = {}
    spec = spec_in(path.parents[1])
    for kind, damaged in _damaged(content, num_flips, num_lines, random.Random(seed)):
        path.write_bytes(damaged)
        counts.setdefault(kind, Counter())[_outcome(path, expected, spec)] += 1
    path.write_bytes(content)
    return counts


def _outcome(path: Path, expected: list[Fact], spec: SearchSpec) -> Outcome:
    try:
        facts = list(read_facts(path))
        if facts == expected:
            return "harmless"
        write_tables(read_history(path), RunDir(path.parent))
        Journal(path).close()
        Search(spec, MemoryRecord(facts))
    except InputError as error:
        return "found" if len(error.faults) == 1 else "traceback"
    except Exception:
        return "traceback"
    return "believed"


def _damaged(content: bytes, num_flips: int, num_lines: int | None, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield kinds of damage with damaged contents."""
    for bit in rng.sample(range(8 * len(content)), num_flips):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield "flipped", bytes(flipped)
    lines = content.splitlines(keepends=True)
    places = range(len(lines)) if num_lines is None else rng.sample(range(len(lines)), num_lines)
    for index in places:
        yield "deleted", b"".join([*lines[:index], *lines[index + 1 :]])
        yield "repeated", b"".join([*lines[:index], lines[index], *lines[index:]])
        yield "cut off", b"".join(lines[:index])
    for _ in places:
        one, other = sorted(rng.sample(range(len(lines)), 2))
        exchanged = list(lines)
        exchanged[one], exchanged[other] = lines[other], lines[one]
        yield "exchanged", b"".join(exchanged)


def cost(folder: Path) -> dict[str, float]:
    """Return the processor time that a checksum takes, and that opening takes, in seconds a line."""
    lines = list(read_records(folder / "chained" / "study.journal"))
    many = [lines[index % len(lines)] for index in range(_LINES_OF_COST)]
    took: dict[str, list[float]] = {"writing without a checksum": [], "writing with a checksum": [], "checking": []}
    for _ in range(3):
        begun = time.process_time()
        for line in many:
            json.dumps(line, separators=(",", ":")).encode()
        took["writing without a checksum"].append(time.process_time() - begun)
        begun, checksum, sealed = time.process_time(), chain.START, []
        for line in many:
            text, checksum = chain.sealed(line, checksum)
            sealed.append(text)
        took["writing with a checksum"].append(time.process_time() - begun)
        begun, checksum = time.process_time(), chain.START
        for text in sealed:
            found = chain.checksum_of(text, checksum)
            assert found is not None
            checksum = found
        took["checking"].append(time.process_time() - begun)
    return {name: median(seconds) / len(many) for name, seconds in took.items()}


def spec_in(folder: Path) -> SearchSpec:
    """Return the search of the journals."""
    (folder / "formula.py").write_text(_TRAINABLE, encoding="utf-8")
    document: dict[str, Any] = {
        "name": "damage",
        "trainable": "formula.py:Formula",
        "space": {
            "x": {"type": "float", "low": 0.0, "high": 1.0},
            "n": {"type": "int", "low": 1, "high": 100, "log": True},
            "kind": {"type": "categorical", "choices": ["a", "b"]},
        },
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 24, "seed": 3},
        "scheduler": {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8},
    }
    return parse_space(document, folder, "damage.yaml")


def _run(search: Search) -> None:
    """Run a search whose trials report a formula; beyond x = 0.8, trials fail or run out of memory."""
    while (proposal := search.propose()) is not None:
        x, kind = proposal.config["x"], proposal.config["kind"]
        for iteration in range(1, 9):
            if x > 0.8 and iteration == 4 and not proposal.trial.is_default:
                ended = Ended("failed", "no data") if kind == "a" else Ended("infeasible", "out of memory", excess=0.5)
                search.take(proposal.number, ended)
                break
            report = Report(iteration, x - 0.5 / iteration, {"loss": 1 / iteration}, f"c-{iteration}", 0.5, False)
            if search.take(proposal.number, report) is not Decision.CONTINUE:
                break


def _plain(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal as version 0.2 wrote them."""
    for line in read_records(path):
        if line["raysearch"]:
            line["raysearch"].pop("sections", None)
        else:
            del line["raysearch"]
        yield line


if __name__ == "__main__":
    main()
