"""Value of earlier searches on other data sets: python -m benchmarks.transfer --curves FOLDER --results FILE.jsonl.

Every data set of LCBench in one half is searched twice: from nothing, and with `warm_start` naming the folders of
searches on all other data sets of the half. Figure: the area under the regret curve, as in `benchmarks.search`, whose
file of results and halves are used too. The earlier searches are kept in the folder given with `--earlier`.
"""

import argparse
import time
from pathlib import Path
from unittest import mock

import torch
from threadpoolctl import threadpool_limits

from benchmarks import record
from benchmarks.record import Figure
from benchmarks.search import results as files
from benchmarks.search import tables
from benchmarks.search.lcbench import LCBench
from benchmarks.search.regret import GRID, Side, lines_of, paired, table_lines_of
from benchmarks.search.results import Key, Result
from benchmarks.search.simulation import Simulation
from benchmarks.search.tools import OWN, Ours
from raysearch.history.journal import Journal, MemoryRecord
from raysearch.history.run_dir import RunDir

COLD, WARM = "from nothing", "from searches on other data sets"


def search_earlier(folder: Path, table: LCBench, trainings: int) -> None:
    """Search a data set into a run folder, with a seed of its own; do nothing if that has been done."""
    if folder.exists():
        return
    part = folder.with_name(folder.name + ".part")
    run_dir = RunDir.create(table.task.name, part)
    spec = table.task.spec(seed=10_000)
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    with mock.patch("os.fsync"), Journal(run_dir.journal) as journal:  # simulated trials need not outlive a power cut
        Simulation(Ours(spec, journal), table.task, table.world(10_000), 1, [trainings]).run()
    part.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True, metavar="FOLDER", help="folder with LCBench")
    parser.add_argument("--results", type=Path, required=True, metavar="FILE.jsonl", help="file of finished searches")
    parser.add_argument("--earlier", type=Path, required=True, metavar="FOLDER", help="folder of the earlier searches")
    parser.add_argument("--half", choices=list(tables.FIRST_SEED), default="development")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--trainings", type=int, choices=GRID, default=25, help="compute of a search")
    parser.add_argument("--earlier-trainings", type=int, default=15, help="compute of an earlier search")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no more searches after this time")
    record.add_option(parser)
    arguments = parser.parse_args()
    ends = time.monotonic() + 60 * arguments.minutes
    names = tables.names(arguments.half, all_tables=True, curves=True)
    datasets = [name for name in names if name.startswith("lcbench-") and not name.endswith("-noisy")]
    folders = {name: arguments.earlier.absolute() / name for name in datasets}
    arguments.earlier.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    known = files.read([arguments.results])
    first = tables.FIRST_SEED[arguments.half]
    grid = [point for point in GRID if point <= arguments.trainings]
    with threadpool_limits(1):
        sources = {name: LCBench(arguments.curves, name.removeprefix("lcbench-"), noisy=False) for name in datasets}
        for name, table in sources.items():
            if time.monotonic() < ends:
                search_earlier(folders[name], table, arguments.earlier_trainings)
        for seed in range(first, first + arguments.seeds):
            for name, table in sources.items():
                for side in (COLD, WARM):
                    key = Key(name, side, arguments.workers, seed)
                    if (key in known and known[key].trainings >= arguments.trainings) or time.monotonic() > ends:
                        continue
                    others = [str(folder) for other, folder in folders.items() if other != name]
                    spec = table.task.spec(seed, {"search": {"warm_start": others if side == WARM else []}})
                    began, world = time.process_time(), table.world(seed)
                    tool = Ours(spec, MemoryRecord())
                    outcome = Simulation(tool, table.task, world, arguments.workers, grid).run()
                    known[key] = Result(
                        *key,
                        trainings=arguments.trainings,
                        regrets={rule: list(regrets) for rule, regrets in outcome.regrets.items()},
                        spread=world.best - world.median,
                        num_trials=outcome.num_trials,
                        cpu_seconds=round(time.process_time() - began, 2),
                        settings={},
                        commit=record.commit(),
                    )
                    files.append(arguments.results, known[key])
    sides = [Side(side, side, OWN) for side in (COLD, WARM)]
    both = {side: paired(known, side, sides[0], arguments.workers, arguments.trainings) for side in sides}
    found = {side: p for side, p in both.items() if p is not None}
    figures: dict[str, Figure] = {}
    if len(found) == len(sides):
        print("\n".join([*lines_of(found, arguments.trainings), "", *table_lines_of(found)]))
        figures["area, from nothing = 1"] = Figure(found[sides[1]].ratio, "", "lower", found[sides[1]].interval)
    record.write("transfer", arguments, figures)


if __name__ == "__main__":
    main()
