"""What early stopping saves and loses on random configs: python -m benchmarks.early_stopping --curves FOLDER.

Trials are drawn at random and trained one after another, so no search algorithm is involved. For every rule the table
gives the iterations relative to full trainings, and the loss: how much worse the best score of the trials that reached
the full budget is than the best final score of all trials, in units of the difference between the best known score and
the median. The tables and their two halves are those of `benchmarks.search`; the trainings on CamVid also count with
the scores of the weights as they are, which early on say nothing about the final ones.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import record, rung_audit
from benchmarks.record import Figure
from benchmarks.search import tables
from benchmarks.search.task import ENDLESS, Array, Task, values_at
from raysearch.schedulers import Decision, Observation, build_scheduler
from raysearch.schedulers.audit import is_audited
from raysearch.space.spec import SearchSpec

RULES: Mapping[str, Mapping[str, Any]] = {
    "auto": {},
    "auto, reduction_factor 2": {"reduction_factor": 2},
    "asha, first rung at 1/9": {"grace_iters": 1 / 9},
    "asha, first rung at 1/3": {"grace_iters": 1 / 3},
}
"""Settings of the scheduler; `grace_iters` is a fraction of the budget here."""


RAW = "camvid, weights as they are"
"""Table of the trainings on CamVid with the scores of the weights themselves."""


class Trials(NamedTuple):
    """Trainings of random configs."""

    task: Task
    scores: Array
    """(trials, reports) scores; NaN from the report at which a training diverged."""
    unit: float
    """Difference between the best known score and the median."""


class Outcome(NamedTuple):
    iterations: float
    """Iterations relative to full trainings of all trials that do not diverge."""
    loss: float


def trials_of(name: str, curves: Path | None, seed: int, num_trials: int) -> Trials:
    """Return trainings of random configs of a table; those of one seed come first in a longer list too."""
    rng = np.random.default_rng(seed)
    if name == RAW:
        scores = rung_audit.Scores.read()
        raw = scores.raw["miou"]
        task = Task(name, {"x": {"type": "float", "low": 0.0, "high": 1.0}}, scores.iterations)
        unit = float(raw[:, -1].max() - np.median(raw[:, -1]))
        return Trials(task, raw[rng.permutation(len(raw))[:num_trials]], unit)
    table = tables.table(name, curves)
    world, spec = table.world(seed), table.task.spec(seed)
    points = rng.random((num_trials, len(spec.parameters)))
    found = [world.curve(values_at(spec, point)).scores for point in points]
    return Trials(table.task, np.array(found), world.best - world.median)


def outcome(trials: Trials, spec: SearchSpec) -> Outcome:
    """Train the trials one after another under the scheduler of a search."""
    rule, iterations = build_scheduler(spec), trials.task.iterations
    trained, full, reached = 0, 0, [-math.inf]
    for number, curve in enumerate(trials.scores):
        is_kept = is_audited(spec.search.seed, number, spec.scheduler.audit_fraction)
        before = 0
        for iteration, score in zip(iterations, curve, strict=True):
            trained, before = trained + iteration - before, iteration
            if math.isnan(score):
                break
            stops = rule.observe(Observation(number, iteration, (-float(score),))) is Decision.STOP
            if iteration == iterations[-1]:
                reached.append(float(score))
            elif stops and not is_kept:
                break
        diverged = np.flatnonzero(np.isnan(curve))
        full += iterations[diverged[0]] if len(diverged) else iterations[-1]
    return Outcome(trained / full, (float(np.nanmax(trials.scores[:, -1])) - max(reached)) / trials.unit)


def _spec(task: Task, seed: int, rule: str) -> SearchSpec:
    settings = dict(RULES[rule])
    if "grace_iters" in settings:
        settings["grace_iters"] = max(1, round(settings["grace_iters"] * task.iterations[-1]))
    return task.spec(seed, {"scheduler": settings, "search": {"trials": ENDLESS}})


def _family(table: str) -> str:
    return table if table == RAW else table.partition("-")[0]


def _mean(values: Sequence[float], unit: str, scale: float) -> Figure:
    """Return the mean with its 95 % interval."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Figure(scale * mean, unit, "lower", (scale * (mean - 1.96 * error), scale * (mean + 1.96 * error)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, metavar="FOLDER", help="folder of TaskSet and LCBench")
    parser.add_argument("--half", choices=list(tables.FIRST_SEED), default="development")
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="default: those of the half")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--trials", type=int, nargs="+", default=[16, 30, 60])
    parser.add_argument("--seeds", type=int, default=20)
    record.add_option(parser)
    arguments = parser.parse_args()
    names = arguments.tables or [RAW, *tables.names(arguments.half, all_tables=False, curves=bool(arguments.curves))]
    first = tables.FIRST_SEED[arguments.half]
    print("iterations in % of full trainings, and loss in thousandths; mean (95 % interval)\n")
    print("| tables | trials | rule | iterations | loss |\n|---|---|---|---|---|")
    figures: dict[str, Figure] = {}
    for family in dict.fromkeys(map(_family, names)):
        for num_trials in arguments.trials:
            outcomes: dict[str, list[Outcome]] = {rule: [] for rule in arguments.rules}
            for name in (name for name in names if _family(name) == family):
                for seed in range(first, first + arguments.seeds):
                    trials = trials_of(name, arguments.curves, seed, num_trials)
                    for rule, found in outcomes.items():
                        found.append(outcome(trials, _spec(trials.task, seed, rule)))
            for rule, found in outcomes.items():
                iterations = _mean([one.iterations for one in found], "%", 100)
                loss = _mean([one.loss for one in found], "0.001", 1000)
                print(f"| {family} | {num_trials} | {rule} | {_cell(iterations)} | {_cell(loss)} |", flush=True)
                figures[f"{family}, {num_trials} trials, {rule}: iterations"] = iterations
                figures[f"{family}, {num_trials} trials, {rule}: loss"] = loss
    record.write("early_stopping", arguments, figures)


def _cell(figure: Figure) -> str:
    low, high = figure.spread or (figure.value, figure.value)
    return f"{figure.value:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
