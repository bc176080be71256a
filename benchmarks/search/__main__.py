"""Comparison of searches in virtual time: python -m benchmarks.search --curves FOLDER --results FILE.jsonl.

Recorded or synthetic learning curves replace training, so that a search of days takes seconds. Every tool's own code
proposes, stops and names its best config. Figures: the regret of the named config at 10, 25, 50 and 100 full trainings'
worth of compute, which is the number of iterations of all workers divided by the full budget, and the area under the
regret curve, which is the mean regret over the compute from 0 on. A regret is the difference between the best known
true score and the true score of the named config: 1 is that of the median random config, so that tables can be
averaged. The intervals are 95 % intervals of a paired bootstrap over tables and seeds against the first tool.

Defaults are chosen on the development half alone: half of the tables, seeds 0 to 99. What is published comes from the
other half of the tables and from seeds from 1000 on, and is run once for every change of a default.

Every finished search is appended to the file of results, and what is there is not run again.
"""

import argparse
import logging
import os
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch
import yaml
from threadpoolctl import threadpool_limits

from benchmarks import record
from benchmarks.record import Figure
from benchmarks.search import results as files
from benchmarks.search import tables, tools
from benchmarks.search.regret import GRID, Paired, Side, figures_of, lines_of, paired, table_lines_of
from benchmarks.search.results import Key, Result
from benchmarks.search.simulation import Simulation
from benchmarks.search.task import World
from benchmarks.search.tools import OURS, OWN, RULE, SCORE, SHARING, TOOLS


@dataclass(frozen=True)
class Job:
    """One search."""

    key: Key
    tool: str
    """Name of the tool; `key.tool` is the name under which the result is stored."""
    trainings: int
    settings: dict[str, Any]
    curves: Path | None
    commit: str | None


def run(job: Job) -> Result:
    """Run a search on one thread, without the warnings of the peers."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    began = time.process_time()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table = tables.table(job.key.table, job.curves)
        world = _world(job.key.table, job.key.seed, job.curves)
        grid = [point for point in GRID if point <= job.trainings]
        seed = zlib.crc32(f"{job.key.table} {job.key.seed}".encode()) >> 1  # the same luck does not count on all tables
        tool = tools.opened(job.tool, table.task, seed, job.settings)
        share = job.tool == SHARING
        outcome = Simulation(tool, table.task, world, job.key.workers, grid, share=share).run()
    return Result(
        *job.key,
        trainings=job.trainings,
        regrets={rule: [round(regret, 6) for regret in regrets] for rule, regrets in outcome.regrets.items()},
        spread=world.best - world.median,
        num_trials=outcome.num_trials,
        cpu_seconds=round(time.process_time() - began, 2),
        settings=job.settings,
        commit=job.commit,
    )


@lru_cache(maxsize=4)
def _world(table: str, seed: int, curves: Path | None) -> World:
    return tables.table(table, curves).world(seed)


def run_all(jobs: Sequence[Job], num_processes: int) -> Iterator[Result]:
    """Run searches in some processes of low priority, and yield each as soon as it has finished."""
    if num_processes == 1:
        yield from map(run, jobs)
        return
    with get_context("spawn").Pool(num_processes, os.nice, (10,)) as pool:
        yield from pool.imap_unordered(run, jobs)


def main() -> None:
    arguments = _arguments()
    known = files.read([*arguments.also, arguments.results])
    names = [_stored_name(tool, arguments) for tool in arguments.tools]
    jobs = [] if arguments.only_print else [job for job in _jobs(arguments) if not _is_known(job, known)]
    for number, result in enumerate(_within(arguments.minutes, run_all(jobs, arguments.processes)), start=1):
        files.append(arguments.results, result)
        known[result.key] = result
        print(f"{number} of {len(jobs)}: {', '.join(map(str, result.key))}, {result.cpu_seconds:.0f} s", flush=True)
    wanted = {
        key: result for key, result in known.items() if key.table in arguments.tables and key.seed in _seeds(arguments)
    }
    figures: dict[str, Figure] = {}
    for workers in arguments.workers:
        sides = [Side(name, name, OWN) for name in names]
        found = _paired(wanted, sides, workers, arguments.trainings)
        if not found:
            continue
        print(f"\n{workers} workers\n")
        print("\n".join([*lines_of(found, arguments.trainings), "", *table_lines_of(found)]))
        figures |= figures_of(found, workers)
        by_rule = [
            Side(f"{name}, named by {'expectation' if r == RULE else 'score'}", name, r)
            for name in names
            for r in (RULE, SCORE)
        ]
        print("\nThe same searches with other rules of naming\n")
        print(
            "\n".join(
                lines_of(_paired(wanted, [sides[0], *by_rule], workers, arguments.trainings), arguments.trainings)
            )
        )
    print(f"\nload average {os.getloadavg()[0]:.1f}")
    record.write("search", arguments, figures)


def _paired(results: dict[Key, Result], sides: Sequence[Side], workers: int, trainings: int) -> dict[Side, Paired]:
    found = {side: paired(results, side, sides[0], workers, trainings) for side in sides}
    return {side: p for side, p in found.items() if p is not None}


def _within(minutes: float, found: Iterator[Result]) -> Iterator[Result]:
    """Yield results until the time is over; the search that is running then is still finished."""
    ends = time.monotonic() + 60 * minutes
    for result in found:
        yield result
        if time.monotonic() > ends:
            print("the time is over; the same command goes on from here")
            return


def _jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """Yield the searches, seed by seed, so that a part of them is balanced too."""
    commit = record.commit()
    for seed in _seeds(arguments):
        for table in arguments.tables:
            for workers in arguments.workers:
                for tool in arguments.tools:
                    key = Key(table, _stored_name(tool, arguments), workers, seed)
                    settings = arguments.set if tool in (OURS, SHARING) else {}
                    yield Job(key, tool, arguments.trainings, settings, arguments.curves, commit)


def _is_known(job: Job, known: dict[Key, Result]) -> bool:
    return job.key in known and known[job.key].trainings >= job.trainings


def _seeds(arguments: argparse.Namespace) -> range:
    first = tables.FIRST_SEED[arguments.half]
    return range(first, first + arguments.seeds)


def _stored_name(tool: str, arguments: argparse.Namespace) -> str:
    return arguments.store_as if tool == OURS and arguments.store_as else tool


def _setting(text: str) -> tuple[str, str, Any]:
    path, equals, value = text.partition("=")
    section, dot, key = path.partition(".")
    if not (equals and dot and section in ("search", "scheduler")):
        raise argparse.ArgumentTypeError(f"{text} must be search.KEY=VALUE or scheduler.KEY=VALUE")
    return section, key, yaml.safe_load(value)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, metavar="FILE.jsonl", help="file of finished searches")
    parser.add_argument(
        "--also", type=Path, nargs="*", default=[], metavar="FILE.jsonl", help="more such files, only read"
    )
    parser.add_argument("--half", choices=list(tables.FIRST_SEED), default="development")
    parser.add_argument(
        "--curves", type=Path, metavar="FOLDER", help="folder of TaskSet and LCBench; absent: without them"
    )
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="default: a fixed choice of the half's tables")
    parser.add_argument(
        "--all-tables", action="store_true", help="all data sets of LCBench, with and without added noise"
    )
    parser.add_argument(
        "--tools",
        nargs="+",
        default=list(TOOLS),
        metavar="TOOL",
        help=f"{', '.join(TOOLS)}; with --only-print also names that were given with --store-as",
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--trainings", type=int, choices=GRID, default=100, help="compute, in full trainings")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no more searches after this time")
    parser.add_argument("--only-print", action="store_true", help="run nothing")
    parser.add_argument(
        "--set", type=_setting, nargs="+", default=[], metavar="SECTION.KEY=VALUE", help="for raysearch"
    )
    parser.add_argument("--store-as", metavar="NAME", help="name under which the searches of `ours` are stored")
    record.add_option(parser)
    arguments = parser.parse_args()
    half, curves = arguments.half, arguments.curves is not None
    known = tables.names(half, all_tables=True, curves=curves)
    arguments.tables = arguments.tables or tables.names(half, all_tables=arguments.all_tables, curves=curves)
    if strangers := [name for name in arguments.tables if name not in known]:
        parser.error(f"--tables: the {half} half has no {', '.join(strangers)}; it has {', '.join(known)}")
    if half == "development" and arguments.seeds > tables.FIRST_SEED["published"]:
        parser.error("--seeds: the development half ends at seed 999")
    if not arguments.only_print:
        if strangers := [tool for tool in arguments.tools if tool not in TOOLS]:
            parser.error(f"--tools: there is no {', '.join(strangers)}; there is {', '.join(TOOLS)}")
        for tool in arguments.tools:
            if not tools.is_installed(tool):
                kind = TOOLS[tool]
                print(f"{tool} is left out: {kind.needs} is not installed (pip install 'raysearch[{kind.extra}]')")
        arguments.tools = [tool for tool in arguments.tools if tools.is_installed(tool)]
    settings: dict[str, Any] = {}
    for section, key, value in arguments.set:
        settings.setdefault(section, {})[key] = value
    arguments.set = settings
    return arguments


if __name__ == "__main__":
    main()
