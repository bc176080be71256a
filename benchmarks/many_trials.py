"""What a search of ten thousand trials costs the driver: python -m benchmarks.many_trials.

All times are CPU seconds of the driver, and every part runs in a process of its own.

- `open` and `steps`: the journal of a search is opened, and then goes on by reports and by suggestions of every
  algorithm. It is drawn: trials of six searched values, 16 at a time, that end in every way.
- `search`: a whole search of trials that take one second runs on 16 workers in virtual time, in which every CPU second
  of the driver passes as well, and writes its journal and its tables.
- `imports`: the driver and the help are imported, and a search of two trials that need no PyTorch runs.
- `ray`: empty trials, and trials that sleep for a second on 16 workers, on a real Ray, beside plain Tune.

`--before` names a checkout of another commit, whose code is measured in turn with that of this one.
"""

import argparse
import contextlib
import heapq
import importlib
import io
import json
import logging
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.record import Figure

ALGORITHMS = ("random", "tpe", "gp", "curve_gp")
NUM_SLOTS = 16
NUM_REPORTS = 10
TRIAL_S = 1.0
"""Seconds that a trial of the whole search takes."""
TRAINABLE = """
class Nothing:
    pass
"""
DOCUMENT: dict[str, Any] = {
    "name": "many",
    "trainable": "nothing.py:Nothing",
    "space": {
        **{f"x{place}": {"type": "float", "low": 0.0, "high": 1.0} for place in range(4)},
        "rate": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
        "kind": {"type": "categorical", "choices": ["a", "b", "c"]},
    },
    "objective": {"metric": "score", "mode": "max"},
    "scheduler": {"name": "asha", "grace_iters": 1, "reduction_factor": 3, "max_iters": NUM_REPORTS},
    "resources": {"cpu": 1},
}


def spec_of(folder: Path, algorithm: str, trials: int, **sections: Any) -> Any:
    from raysearch.space.parsing import parse_space

    (folder / "nothing.py").write_text(TRAINABLE)
    search = {"algorithm": algorithm, "trials": trials, "seed": 1}
    return parse_space({**DOCUMENT, "search": search, **sections}, folder)


def curve_of(values: Mapping[str, Any], rng: random.Random) -> Iterator[float]:
    """Yield the scores of a trial: they approach a level that its values set."""
    level = (
        1.0 - sum((values[f"x{place}"] - 0.3) ** 2 for place in range(4)) - 0.1 * abs(math.log10(values["rate"]) + 2)
    )
    for report in range(1, NUM_REPORTS + 1):
        yield level - 1.0 / report + rng.gauss(0.0, 0.02)


def report_of(iteration: int, score: float, done: bool) -> Any:
    from raysearch.history.events import Report

    metrics = {"loss": 1.0 - score, "lr": 0.01, "images_per_second": 80.0, "iou": [score] * 11}
    return Report(iteration, score, metrics, None, 0.1, done, {}, 10**9 + iteration, 8 * 10**9, "host:1")


def draw_journal(path: Path, spec: Any, trials: int) -> None:
    """Write the journal of a search whose trials have all started and, but for the last 16, ended."""
    from raysearch.history.events import Begun, Ended, Started
    from raysearch.history.records import lines_of

    rng = random.Random(0)
    distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
    curves: dict[int, Iterator[tuple[int, float]]] = {}
    with path.open("w") as file:

        def write(event: Any, number: int | None = None) -> None:
            file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines_of(event, number))

        write(Begun(spec.name, "max", trials))
        num_started = 0
        while num_started < trials or len(curves) == NUM_SLOTS:
            if len(curves) < NUM_SLOTS:
                values: dict[str, Any] = {f"x{place}": rng.random() for place in range(4)}
                values |= {"rate": 10 ** rng.uniform(-4, 0), "kind": rng.choice("abc")}
                write(Started(values, distributions, values, is_default=False))
                curves[num_started] = enumerate(curve_of(values, rng), start=1)
                num_started += 1
                continue
            number = rng.choice(list(curves))
            iteration, score = next(curves[number], (0, 0.0))
            if iteration:
                write(report_of(iteration, score, iteration == NUM_REPORTS), number)
                continue
            del curves[number]
            status: Any = rng.choices(["completed", "stopped", "infeasible"], [60, 35, 5])[0]
            write(Ended(status, values=None if status == "infeasible" else (score,)), number)


def cpu_s(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_open(folder: Path, trials: int) -> dict[str, float]:
    from raysearch.history.journal import Journal
    from raysearch.search.search import Search

    spec = spec_of(folder, "random", trials)
    with Journal(folder / "journal") as journal:
        opened = cpu_s(lambda: Search(spec, journal))
    return {"open, s": opened, "peak memory, MiB": _peak_mib()}


def _peak_mib() -> float:
    """Return the peak memory of this program; `getrusage` would include that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def measure_steps(folder: Path, trials: int) -> dict[str, float]:
    """Time the steps of a search that has been opened."""
    from raysearch.algorithms import suggest
    from raysearch.history.journal import Journal, MemoryRecord
    from raysearch.search.search import Search

    spec = spec_of(folder, "random", trials)
    with Journal(folder / "journal") as journal:
        search = Search(spec, MemoryRecord(journal.facts()))
    search.extend(NUM_SLOTS)
    measured = {}
    for algorithm in ALGORITHMS:
        asking = spec_of(folder, algorithm, trials)
        suggest(asking, search.history, trials)  # takes in the history
        times = [cpu_s(partial(suggest, asking, search.history, trials + place)) for place in range(1, 6)]
        measured[f"suggestion by {algorithm}, ms"] = 1000 * median(times)
    running, rng, times = [search.propose() for _ in range(NUM_SLOTS)], random.Random(1), []
    for iteration in range(1, NUM_REPORTS):
        for proposal in running:
            assert proposal is not None
            report = report_of(iteration, rng.random(), False)
            times.append(cpu_s(partial(search.take, proposal.number, report)))
    return {"report, ms": 1000 * sum(times) / len(times), **measured}


def measure_search(folder: Path, trials: int) -> dict[str, float]:
    """Run a whole search of random values in virtual time, with its journal and its tables; no trial stops early."""
    from raysearch.history.journal import Journal
    from raysearch.history.run_dir import RunDir
    from raysearch.runs import driver
    from raysearch.search.loop import SearchLoop
    from raysearch.search.search import Search

    spec = spec_of(folder, "random", trials, scheduler={"name": "none"})
    run_dir = RunDir.create("many", folder / "run")
    clock = SimpleNamespace(now=0.0)
    as_module: Any = driver
    as_module.time = SimpleNamespace(
        monotonic=lambda: clock.now + time.process_time() - clock.since, process_time=time.process_time
    )
    clock.since = time.process_time()
    nobody: Any = SimpleNamespace(update=lambda changed: None, check=lambda: None)
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        watch = driver._Watch(search, run_dir, nobody, nobody)
        tables_s = 0.0

        def watched(changed: Sequence[Any]) -> None:
            nonlocal tables_s
            before = run_dir.results_table.stat().st_mtime_ns if run_dir.results_table.exists() else 0
            taken = cpu_s(lambda: watch(changed))
            after = run_dir.results_table.stat().st_mtime_ns if run_dir.results_table.exists() else 0
            tables_s += taken if after != before else 0.0

        begun = time.process_time()
        assign: Any = lambda proposal: proposal  # noqa: E731 - the loop below needs no assignment
        _run(SearchLoop(search, assign, watched), clock)
        driver_s = time.process_time() - begun
    assert search.finished and len(search.history.trials) == trials
    assert all(trial.status == "completed" for trial in search.history.trials)
    return {
        "driver, ms a trial": 1000 * driver_s / trials,
        "share of the tables": tables_s / driver_s,
        "time over the ideal": clock.now / (trials * TRIAL_S / NUM_SLOTS),
    }


def _run(loop: Any, clock: Any) -> None:
    """Run a search whose only driver handles one event after the other and is busy as long as that takes it."""
    from raysearch.schedulers import Decision

    rng = random.Random(2)
    curves: dict[int, Iterator[tuple[int, float]]] = {}
    events: list[tuple[float, int]] = []

    def busy(work: Callable[[], Any]) -> Any:
        clock.since = time.process_time()
        done = work()
        clock.now += time.process_time() - clock.since
        clock.since = time.process_time()
        return done

    while True:
        while len(events) < NUM_SLOTS and (proposal := busy(loop.next)) is not None:
            curves[proposal.number] = enumerate(curve_of(proposal.trial.values, rng), start=1)
            heapq.heappush(events, (clock.now + TRIAL_S / NUM_REPORTS, proposal.number))
        if not events:
            return
        at, number = heapq.heappop(events)
        clock.now = max(clock.now, at)
        iteration, score = next(curves[number])
        report = report_of(iteration, score, iteration == NUM_REPORTS)
        if busy(partial(loop.take, number, report)) is Decision.CONTINUE:
            heapq.heappush(events, (clock.now + TRIAL_S / NUM_REPORTS, number))
        busy(loop.tick)


def measure_imports(folder: Path, trials: int) -> dict[str, float]:
    """Measure what a search of trials costs whose trainable imports next to nothing, its imports included."""
    from raysearch.runs import driver

    imported = {"import of the driver, s": time.process_time(), "its peak memory, MiB": _peak_mib()}
    from raysearch.space.parsing import load_space

    space = Path(driver.__file__).parents[2] / "search_spaces" / "quadratic.yaml"
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        driver.run(load_space(space, ["search.trials=2"]), Path(out) / "run", executor="local")
    code = "import sys; sys.argv = ['raysearch', '--help']; from raysearch.commands.cli import main; main()"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    help_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    whole = {"search of two trials, s": time.process_time(), "peak memory of the search, MiB": _peak_mib()}
    return {**imported, **whole, "--help, s": help_s}


RAY_TRAINABLE = """
import time
from ray import tune

class Sleeping(tune.Trainable):
    def setup(self, config):
        self.config = config

    def step(self):
        time.sleep(self.config["sleep_s"])
        return {"score": self.config["x"], "reported_at": time.time(), "done": True}

    def save_checkpoint(self, folder):
        raise NotImplementedError
"""


def measure_ray(folder: Path, trials: int, *, sleep_s: float, slots: int, run: Callable[..., None]) -> dict[str, float]:
    """Run trials that sleep and report once on a local Ray."""
    import ray

    (folder / "sleeping.py").write_text(RAY_TRAINABLE)
    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ended: list[tuple[float, float]] = []
    """CPU time of the driver and wall time at the end of every trial."""
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        run(folder, Path(out), trials, sleep_s, slots, lambda: ended.append((time.process_time(), time.time())))
    ray.shutdown()
    assert len(ended) == trials
    (first_cpu, first), (last_cpu, last) = ended[2 * slots], ended[-slots]
    counted = trials - 3 * slots
    measured = {"driver, ms a trial": 1000 * (last_cpu - first_cpu) / counted}
    return measured | ({"time over the ideal": (last - first) * slots / counted / sleep_s} if sleep_s else {})


def _ours(folder: Path, out: Path, trials: int, sleep_s: float, slots: int, ended: Callable[[], None]) -> None:
    from raysearch.runs import driver
    from raysearch.space.parsing import parse_space

    document = {
        "name": "sleeping",
        "trainable": "sleeping.py:Sleeping",
        "config": {"sleep_s": sleep_s},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": trials},
        "scheduler": {"name": "none"},
        "resources": {"cpu": 1, "concurrent": slots},
    }
    driver.run(parse_space(document, folder), out / "run", say=lambda line: ended() if line[:6] == "trial " else None)


def _plain(folder: Path, out: Path, trials: int, sleep_s: float, slots: int, ended: Callable[[], None]) -> None:
    import ray
    from ray import tune

    sys.path.insert(0, str(folder))
    sleeping = importlib.import_module("sleeping")
    ray.cloudpickle.register_pickle_by_value(sleeping)

    class Counting(tune.Callback):
        def on_trial_complete(self, *args: Any, **more: Any) -> None:
            ended()

    tune.Tuner(
        tune.with_resources(sleeping.Sleeping, {"cpu": 1}),
        param_space={"x": tune.uniform(0.0, 1.0), "sleep_s": sleep_s},
        tune_config=tune.TuneConfig(
            metric="score", mode="max", num_samples=trials, max_concurrent_trials=slots, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(out), verbose=0, callbacks=[Counting()]),
    ).fit()


PARTS: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "open": measure_open,
    "steps": measure_steps,
    "search": measure_search,
    "imports": measure_imports,
    "empty trials": partial(measure_ray, sleep_s=0.0, slots=2, run=_ours),
    "empty trials, plain Tune": partial(measure_ray, sleep_s=0.0, slots=2, run=_plain),
    "one-second trials": partial(measure_ray, sleep_s=1.0, slots=NUM_SLOTS, run=_ours),
    "one-second trials, plain Tune": partial(measure_ray, sleep_s=1.0, slots=NUM_SLOTS, run=_plain),
}
GROUPS = {
    "open": ("open",),
    "steps": ("steps",),
    "search": ("search",),
    "imports": ("imports",),
    "ray": tuple(PARTS)[4:],
}
"""Parts by the names of the command line."""
_MEMORY = Path("/dev/shm")
"""Folder of files in memory: only CPU time is measured, so nobody need wait for a disk."""
NUM_ON_RAY = 500
"""Largest number of trials on a real Ray."""


def measured_at(checkout: Path, part: str, folder: Path, trials: int) -> dict[str, float]:
    """Measure one part by the code of a checkout, in a new process."""
    command = [sys.executable, __file__, "--part", part, str(folder), str(trials)]
    env = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    from benchmarks import record  # late: it imports PyTorch, which the parts must not

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=list(GROUPS), help="parts to measure")
    parser.add_argument("--before", type=Path, help="checkout of another commit, measured as well")
    record.add_option(parser)
    arguments = parser.parse_args()
    sides = {"": record.ROOT} | ({"before: ": arguments.before.resolve()} if arguments.before else {})
    print(f"{arguments.trials} trials of {NUM_REPORTS} reports, load average {os.getloadavg()[0]:.1f}\n", flush=True)
    figures: dict[str, list[float]] = {}
    for part in (part for group in arguments.only for part in GROUPS[group]):
        for _ in range(arguments.repeats):
            for side, checkout in sides.items():
                if side and "plain Tune" in part:
                    continue
                for name, value in _measured(checkout, part, arguments.trials).items():
                    figures.setdefault(f"{side}{part}: {name}", []).append(value)
        for name in figures:
            if name.removeprefix("before: ").startswith(f"{part}: "):
                values = figures[name]
                print(f"{name:60} {median(values):10.3f}  ({min(values):.3f} to {max(values):.3f})", flush=True)
    print()
    _print_ratios({name: median(values) for name, values in figures.items()})
    record.write("many_trials", arguments, figures_of(figures))


def _measured(checkout: Path, part: str, trials: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        folder = Path(name)
        if part not in ("open", "steps"):
            return measured_at(checkout, part, folder, min(trials, NUM_ON_RAY) if "trials" in part else trials)
        draw_journal(folder / "journal", spec_of(folder, "random", trials), trials)
        return measured_at(checkout, part, folder, trials)


def _print_ratios(medians: Mapping[str, float]) -> None:
    for name, value in medians.items():
        part, _, figure = name.partition(": ")
        for other in (f"before: {name}", f"{part}, plain Tune: {figure}"):
            if other in medians:
                print(f"{other} / {name}: {medians[other] / value:.2f}")


def figures_of(figures: Mapping[str, Sequence[float]]) -> "dict[str, Figure]":
    """Return the figures with their units, which their names end in."""
    from benchmarks.record import Figure

    named = {}
    for name, values in figures.items():
        what, _, unit = name.rpartition(", ")
        is_ratio = name.endswith(("share of the tables", "time over the ideal"))
        named[name if is_ratio else what] = Figure.of(values, "ratio" if is_ratio else unit, "lower")
    return named


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        part, folder, trials = sys.argv[2:]
        print(json.dumps(PARTS[part](Path(folder), int(trials))))
    else:
        main()
