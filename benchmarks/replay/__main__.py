"""Comparison of searches in virtual time: python -m benchmarks.replay [TABLE.parquet] [--seeds 30] [--workers 1 8 64].

A surrogate fitted to real trainings replaces training, so that a search of days takes seconds. Every tool's own code
proposes, stops and selects its best config. Figure: training iterations and virtual time until the incumbent's true
score at the full budget is within the tolerance of the best known one. A search that does not reach it counts with the
budget.
"""

import argparse
import os
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

from benchmarks import record
from benchmarks.record import Figure
from benchmarks.replay import table as tables
from benchmarks.replay.comparison import figures_of, jobs_of, run_all, table_lines
from benchmarks.replay.simulator import Outcome, Setting
from benchmarks.replay.surrogate import Surrogate
from benchmarks.replay.tools import TOOLS

_TABLE = Path(__file__).parent / "camvid.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, nargs="?", default=_TABLE)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--tolerance", type=float, default=0.01, help="in mIoU")
    parser.add_argument("--max-iterations", type=int, default=160_000)
    parser.add_argument("--startup-s", type=float, default=5.0)
    parser.add_argument("--processes", type=int, default=2)
    record.add_option(parser)
    arguments = parser.parse_args()
    began = time.perf_counter()
    table = tables.read(arguments.table)
    surrogate = Surrogate(table)
    print(f"{table.task.name}: {len(table.points)} trials\n")
    print("\n".join(_error_lines(surrogate)), flush=True)
    setting = Setting(1, arguments.tolerance, arguments.max_iterations, arguments.startup_s)
    groups = {
        num_workers: jobs_of(replace(setting, num_workers=num_workers), arguments.tools, arguments.seeds)
        for num_workers in arguments.workers
    }
    found = run_all([job for jobs in groups.values() for job in jobs], surrogate, arguments.processes)
    figures: dict[str, Figure] = {}
    for num_workers, jobs in groups.items():
        outcomes: dict[str, list[Outcome]] = {}
        for job, outcome in islice(found, len(jobs)):
            outcomes.setdefault(job.tool, []).append(outcome)
        print(f"\n{num_workers} workers, {time.perf_counter() - began:.0f} s\n")
        print("\n".join(table_lines(outcomes, reference=next(iter(outcomes)))), flush=True)
        figures |= figures_of(outcomes, num_workers)
    print(f"\nload average {os.getloadavg()[0]:.1f}")
    record.write("replay", arguments, figures)


def _error_lines(surrogate: Surrogate) -> list[str]:
    lines = [
        "| report | R² | RMSE | noise | rank correlation with the final score: trials | simulated |",
        "|---|---|---|---|---|---|",
    ]
    for e in surrogate.errors():
        cells = f"{e.r2:.2f} | {e.rmse:.4f} | {e.noise:.4f} | {e.correlation_data:.2f} | {e.correlation_simulated:.2f}"
        lines.append(f"| {e.iteration} | {cells} |")
    return lines


if __name__ == "__main__":
    main()
