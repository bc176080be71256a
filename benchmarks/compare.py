"""Two runs of one benchmark side by side, from their records or at two commits.

    python -m benchmarks.compare BEFORE.json AFTER.json                  two files that `--json` has written
    python -m benchmarks.compare COMMIT COMMIT --run several_objectives --seeds 3     runs it at both commits first

The table gives every figure of both, their ratio, and whether the second is better or worse. Where both have spreads
and these overlap, the difference may be chance.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.record import ROOT, Figure, Record, read


def table_lines(before: Record, after: Record) -> Iterator[str]:
    """Yield the lines of the table, with a row for each figure that either record has."""
    yield "| figure | before | after | after / before | |"
    yield "|---|---|---|---|---|"
    for name in [*before.figures, *(name for name in after.figures if name not in before.figures)]:
        first, second = before.figures.get(name), after.figures.get(name)
        judged = ("", "") if first is None or second is None else _judged(first, second)
        yield f"| {' | '.join([name, _text(first), _text(second), *judged])} |"


def note_lines(before: Record, after: Record) -> Iterator[str]:
    """Yield a line for each difference between the two runs other than their commits."""
    for kind in ("machine", "versions", "settings"):
        first, second = getattr(before, kind), getattr(after, kind)
        for name in [*first, *(name for name in second if name not in first)]:
            if first.get(name) != second.get(name):
                yield f"note: different {kind}, {name}: {_shown(first.get(name))}, then {_shown(second.get(name))}"
    least, most = sorted((before.load_average, after.load_average))
    if most > 1.5 * least + 0.5:
        yield f"note: different load average, which changes times: {before.load_average}, then {after.load_average}"


def run_at(commit: str, benchmark: str, words: Sequence[str], file: Path) -> None:
    """Run a benchmark of a commit in a copy of the repository, and write its record.

    Raises:
        ValueError: there is no such commit, or it has no such benchmark, or the benchmark failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        added = subprocess.run(_git("worktree", "add", "--detach", str(copy), commit), capture_output=True, text=True)
        if added.returncode:
            raise ValueError(f"{commit}: {added.stderr.strip().splitlines()[-1]}")
        try:
            command = [sys.executable, "-m", f"benchmarks.{benchmark}", *words, "--json", str(file)]
            done = subprocess.run(command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)})
        finally:
            subprocess.run(_git("worktree", "remove", "--force", str(copy)), check=True)
    if done.returncode or not file.exists():
        raise ValueError(f"{commit}: {' '.join(command[1:4])} failed with exit code {done.returncode}; see above")


def _git(*words: str) -> list[str]:
    return ["git", "-C", str(ROOT), *words]


def _judged(first: Figure, second: Figure) -> tuple[str, str]:
    """Return the ratio and what it means."""
    ratio = f"{second.value / first.value:.3f}" if first.value else ""
    if first.value == second.value:
        return ratio, "equal"
    verdict = "better" if (second.value < first.value) == (second.better == "lower") else "worse"
    if first.spread is None or second.spread is None:
        return ratio, verdict
    overlap = first.spread[0] <= second.spread[1] and second.spread[0] <= first.spread[1]
    return ratio, f"{verdict}, spreads overlap" if overlap else f"{verdict}, spreads apart"


def _text(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    spread = "" if figure.spread is None else f" ({figure.spread[0]:.4g} to {figure.spread[1]:.4g})"
    return f"{figure.value:.4g}{spread} {figure.unit}".rstrip()


def _shown(value: object) -> str:
    return "nothing" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a record, or a commit with --run")
    parser.add_argument("after", help="the same")
    parser.add_argument(
        "--run",
        nargs=argparse.REMAINDER,
        metavar="BENCHMARK",
        help="a benchmark and its options, to run at both commits",
    )
    arguments = parser.parse_args()
    sides = (arguments.before, arguments.after)
    try:
        if arguments.run is None:
            before, after = (read(Path(side).expanduser()) for side in sides)
        elif not arguments.run:
            parser.error("--run needs the name of a benchmark, such as several_objectives")
        else:
            with tempfile.TemporaryDirectory() as folder:
                files = [Path(folder) / f"{i}.json" for i in range(2)]
                for side, file in zip(sides, files, strict=True):
                    run_at(side, arguments.run[0], arguments.run[1:], file)
                before, after = map(read, files)
    except ValueError as error:
        parser.error(str(error))
    if before.benchmark != after.benchmark:
        parser.error(f"the records are of two benchmarks: {before.benchmark} and {after.benchmark}")
    print(f"\n{before.benchmark}")
    for which, record in (("before", before), ("after", after)):
        print(f"{which}: commit {_shown(record.commit)}, {record.date}")
    print("\n".join(["", *table_lines(before, after), "", *note_lines(before, after)]).rstrip())


if __name__ == "__main__":
    main()
