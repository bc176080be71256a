"""How often the estimates of a search hold: python -m benchmarks.estimates --results FILE.jsonl [--curves FOLDER].

Searches run in virtual time on the tables of `benchmarks.search`. Before a search starts, and whenever another quarter
of its trials has ended or paused, its iterations and its duration are estimated. An estimate holds if what the search
really took lies in the range. The range is an 80 % interval, so it should hold in 75 to 85 % of the searches. Where
nothing is random, as without early stopping, the range is one value, which always holds; these are left out.
A duration is estimated in iterations of a single trial and multiplied by the pace of the trials so far, as the live
view does it; before the start the pace is that of the first trial, as `check` measures it.

Every finished search is appended to the file of results, and what is there is not run again.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.record import Figure
from benchmarks.search import tables
from benchmarks.search.task import Curve, Task, World
from raysearch.history.events import Report
from raysearch.history.journal import MemoryRecord
from raysearch.search.estimate import estimate_search
from raysearch.search.loop import SearchLoop
from raysearch.search.search import Proposal, Search
from raysearch.search.simulated import Leg, SimulatedExecutor
from raysearch.search.work import Assignment
from raysearch.space.spec import SearchSpec

SCHEDULERS: Mapping[str, Mapping[str, Any]] = {
    "auto": {},
    "asha": {"grace_iters": 1 / 9},
    "asha, promotion": {"grace_iters": 1 / 9, "form": "promotion"},
    "hyperband": {"name": "hyperband"},
    "pasha": {"name": "pasha", "grace_iters": 1 / 9},
    "median": {"name": "median"},
    "none": {"name": "none"},
}
"""Settings of the scheduler; `grace_iters` is a fraction of the budget here."""
STAGES = ("start", "1/4", "1/2", "3/4")


@dataclass(frozen=True)
class Estimated:
    """What was estimated at one stage, and what it turned out to be."""

    iterations: tuple[float, float, float]
    """Low end, median and high end of the iterations that are left."""
    iterations_left: float
    seconds: tuple[float, float, float]
    seconds_left: float


@dataclass(frozen=True)
class Result:
    """One search."""

    table: str
    scheduler: str
    algorithm: str
    workers: int
    trials: int
    seed: int
    stages: Mapping[str, Estimated]
    cpu_seconds: float
    """CPU time of one estimate."""

    @property
    def key(self) -> tuple[Any, ...]:
        return self.table, self.scheduler, self.algorithm, self.workers, self.trials, self.seed


class Trainings:
    """A search as the work of an executor in virtual time, with the world where it trains."""

    def __init__(self, task: Task, world: World, spec: SearchSpec, num_workers: int) -> None:
        self._iterations, self._world, self._num_workers = task.iterations, world, num_workers
        self.search = Search(spec, MemoryRecord())
        self.executor = SimulatedExecutor(self, num_workers)
        self._curves: dict[int, Curve] = {}
        self._reached: dict[int, int] = {}
        """Number of reports of every trial."""
        self._taken: list[tuple[str, tuple[float, float, float], tuple[float, float, float], float, float]] = []
        self.estimate_s = 0.0

    def run(self) -> dict[str, Estimated]:
        """Train the whole search, and return what was estimated on the way."""
        loop = SearchLoop(self.search, self._assignment, watch=lambda changed: self._estimate_if_due())
        self.executor.run(loop)
        total = self._trained
        return {
            stage: Estimated(iterations, total - trained, seconds, self.executor.now - now)
            for stage, iterations, seconds, trained, now in self._taken
        }

    def _assignment(self, proposal: Proposal) -> Assignment:
        if not self._curves:
            self._curves[proposal.number] = self._world.curve(proposal.trial.values)
            self._estimate(self._curves[proposal.number].seconds_per_iteration)
        self._curves.setdefault(proposal.number, self._world.curve(proposal.trial.values))
        return Assignment(proposal.number, "", {}, Path(), None, proposal.restorable)

    def _estimate_if_due(self) -> None:
        history = self.search.history
        num_waiting = sum(trial.status != "running" or trial.is_paused for trial in history.trials)
        if len(self._taken) < len(STAGES) and num_waiting * 4 >= len(self._taken) * history.target_trials:
            seconds = sum(report.seconds for trial in history.trials for report in trial.reports.values())
            self._estimate(seconds / self._trained)

    @property
    def _trained(self) -> int:
        """Iterations up to the last report of every trial."""
        return sum(trial.last.iteration for trial in self.search.history.trials if trial.last)

    def _estimate(self, pace: float) -> None:
        began = time.process_time()
        history = self.search.history if self._reached else None
        found = estimate_search(self.search.spec, history, concurrent=self._num_workers)
        self.estimate_s = max(self.estimate_s, time.process_time() - began)
        assert found is not None
        low, median, high = found.iterations
        soonest, expected, latest = (part * pace for part in found.elapsed)
        stage = STAGES[len(self._taken)]
        taken = (stage, (low, median, high), (soonest, expected, latest), float(self._trained), self.executor.now)
        self._taken.append(taken)

    # The world

    def begin(self, assignment: Assignment, now: float) -> Leg:
        """Train to the next report."""
        self._reached.setdefault(assignment.number, 0)
        return self.go_on(assignment.number, now)

    def go_on(self, number: int, now: float) -> Leg:
        """Train to the next report."""
        index, curve = self._reached[number], self._curves[number]
        iterations = self._iterations[index] - (self._iterations[index - 1] if index else 0)
        seconds = iterations * curve.seconds_per_iteration
        self._reached[number] = index + 1
        report = Report(self._iterations[index], curve.scores[index], {}, f"c{index}", seconds, done=False)
        return Leg(now + seconds, report)


def run(
    table: str, scheduler: str, algorithm: str, workers: int, trials: int, seed: int, curves: Path | None
) -> Result:
    """Run one search."""
    task, world = tables.table(table, curves).task, tables.table(table, curves).world(seed)
    settings = dict(SCHEDULERS[scheduler])
    if "grace_iters" in settings:
        settings["grace_iters"] = max(1, round(settings["grace_iters"] * task.iterations[-1]))
    spec = task.spec(seed, {"scheduler": settings, "search": {"algorithm": algorithm, "trials": trials}})
    trainings = Trainings(task, world, spec, workers)
    stages = trainings.run()
    return Result(table, scheduler, algorithm, workers, trials, seed, stages, round(trainings.estimate_s, 3))


def read(path: Path) -> dict[tuple[Any, ...], Result]:
    """Return the finished searches in a file; a file that does not exist holds none."""
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        stored = json.loads(line)
        stages = {stage: Estimated(**estimated) for stage, estimated in stored.pop("stages").items()}
        result = Result(**stored, stages=stages)
        found[result.key] = result
    return found


def coverage(results: list[Result], stages: tuple[str, ...], what: str) -> Figure | None:
    """Return the share of the estimates that hold, with its 95 % interval; None without any that is a range."""
    held = []
    for result in results:
        for stage in stages:
            estimated = result.stages[stage]
            low, _, high = getattr(estimated, what)
            if high > low * (1 + 1e-9):
                held.append(low <= getattr(estimated, f"{what}_left") <= high)
    if not held:
        return None
    share = sum(held) / len(held)
    error = 1.96 * math.sqrt(share * (1 - share) / len(held))
    return Figure(100 * share, "%", "higher", (100 * (share - error), 100 * (share + error)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, metavar="FILE.jsonl", help="file of finished searches")
    parser.add_argument("--curves", type=Path, metavar="FOLDER", help="folder of TaskSet and LCBench")
    parser.add_argument("--half", choices=list(tables.FIRST_SEED), default="development")
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="default: those of the half")
    parser.add_argument("--schedulers", nargs="+", choices=SCHEDULERS, default=list(SCHEDULERS))
    parser.add_argument("--algorithms", nargs="+", default=["auto", "tpe", "random"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--trials", type=int, nargs="+", default=[16, 40])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no more searches after this time")
    record.add_option(parser)
    arguments = parser.parse_args()
    names = arguments.tables or tables.names(arguments.half, all_tables=False, curves=bool(arguments.curves))
    known, ends = read(arguments.results), time.monotonic() + 60 * arguments.minutes
    wanted = list(_jobs(arguments, names))
    for job in wanted:
        if job not in known and time.monotonic() < ends:
            known[job] = run(*job, arguments.curves)
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(known[job])) + "\n")
    results = [known[job] for job in wanted if job in known]
    print(f"{len(results)} of {len(wanted)} searches; share of the estimates that hold (95 % interval)\n")
    print("| searches | iterations: at the start | later | duration: at the start | later |\n|---|---|---|---|---|")
    figures: dict[str, Figure] = {}
    groups = {"all": results}
    for name in ("scheduler", "algorithm", "table", "workers", "trials"):
        for value in dict.fromkeys(getattr(result, name) for result in results):
            groups[f"{name}: {value}"] = [result for result in results if getattr(result, name) == value]
    for group, found in groups.items():
        cells = []
        for what in ("iterations", "seconds"):
            for when, stages in (("at the start", STAGES[:1]), ("later", STAGES[1:])):
                figure = coverage(found, stages, what)
                cells.append("" if figure is None or figure.spread is None else _cell(figure))
                if figure is not None:
                    figures[f"{group}: {what}, {when}"] = figure
        print(f"| {group} | {' | '.join(cells)} |")
    if results:
        print(f"\nCPU time of an estimate, at most: {max(result.cpu_seconds for result in results):.2f} s")
    record.write("estimates", arguments, figures)


def _jobs(arguments: argparse.Namespace, names: list[str]) -> Iterator[tuple[str, str, str, int, int, int]]:
    first = tables.FIRST_SEED[arguments.half]
    for seed in range(first, first + arguments.seeds):
        for table in names:
            for scheduler in arguments.schedulers:
                for algorithm in arguments.algorithms:
                    for workers in arguments.workers:
                        for trials in arguments.trials:
                            yield table, scheduler, algorithm, workers, trials, seed


def _cell(figure: Figure) -> str:
    assert figure.spread is not None
    return f"{figure.value:.0f} % ({figure.spread[0]:.0f} to {figure.spread[1]:.0f})"


if __name__ == "__main__":
    main()
