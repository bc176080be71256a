"""Trials lost to memory if the optimum lies at its limit: python -m benchmarks.infeasible [--algorithms tpe gp ...].

A trial runs out of memory for x > 0.6, and its value rises up to x = 0.6. In one problem the value also rises over nine
iterations, and ASHA stops trials from the first one on. All sides search the same spaces with the
same seeds, one trial at a time, without Ray and without a default config. The sides are:

- stock Optuna as Tune's `OptunaSearch` uses it: an error is a failed trial, which TPE ignores
- raysearch as it is
- raysearch with a config that estimates its memory. Memory is then 1 GiB plus 10 GiB per unit of x, on a GPU of 7 GiB,
  and the first trial is the default config with x = 0.1.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState
from pydantic import BaseModel

from benchmarks import record
from benchmarks.record import Figure
from raysearch.history.events import Ended, Report
from raysearch.history.journal import Journal
from raysearch.schedulers import Decision
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

EDGE = 0.6
NUM_TRIALS = 60
ALGORITHMS = ("curve_gp", "tpe", "gp", "cmaes", "qmc", "random")

_X = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
_NUISANCES = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "kind": {"type": "categorical", "choices": ["a", "b"]},
}


def linear(config: Mapping[str, Any]) -> float:
    """Return a value that depends on x alone."""
    return float(config["x"])


def tilted(config: Mapping[str, Any]) -> float:
    """Return a value that rises with x and is slightly better at lr = 1e-3 and with kind b."""
    return float(config["x"]) - _off(config)


def smooth(config: Mapping[str, Any]) -> float:
    """Return a value that is flat in x at the limit and slightly better at lr = 1e-3 and with kind b."""
    return 1.0 - float((EDGE - config["x"]) ** 2) - _off(config)


def peaked(config: Mapping[str, Any]) -> float:
    """Return a value that rises with x and has a ridge at y = 0.3."""
    return float(config["x"] - 0.3 * abs(config["y"] - 0.3))


def _off(config: Mapping[str, Any]) -> float:
    return 0.02 * (math.log10(config["lr"]) + 3.0) ** 2 + (0.01 if config["kind"] == "a" else 0.0)


class Problem(NamedTuple):
    value: Callable[[Mapping[str, Any]], float]
    """Value of a config at the full budget."""
    space: Mapping[str, Any]
    optimum: float
    """Largest value of a config that fits."""
    num_iterations: int = 1
    """Number of iterations, over which the value rises as 1 - exp(-iteration / 3) if there are several."""

    def value_at(self, config: Mapping[str, Any], iteration: int) -> float:
        """Return the value after an iteration, relative to that at the full budget."""
        progress = math.expm1(-iteration / 3) / math.expm1(-self.num_iterations / 3)
        return self.value(config) * progress


PROBLEMS: Mapping[str, Problem] = {
    "linear, x alone": Problem(linear, _X, EDGE),
    "linear, two nuisances": Problem(linear, {**_X, **_NUISANCES}, EDGE),
    "tilted, two that matter": Problem(tilted, {**_X, **_NUISANCES}, EDGE),
    "smooth, two that matter": Problem(smooth, {**_X, **_NUISANCES}, 1.0),
    "ridge, with ASHA": Problem(peaked, {**_X, "y": {"type": "float", "low": 0.0, "high": 1.0}}, EDGE, 9),
}


class Outcome(NamedTuple):
    num_infeasible: int
    best: float
    """Best value found, relative to the optimum."""
    seconds: float


class Formula:
    """A stand-in for the trainable that a space file must name."""


class SizedFormula:
    """A stand-in for a trainable whose config estimates its memory."""

    class Config(BaseModel):
        x: float = 0.1
        lr: float = 1e-4
        kind: str = "a"
        y: float = 0.1

        def memory_estimate(self) -> tuple[str, float]:
            return "", self.x


def search_stock(problem: str, algorithm: str, seed: int) -> Outcome:
    value, optimum = PROBLEMS[problem].value, PROBLEMS[problem].optimum
    sampler = _stock_sampler(algorithm, seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {parameter.path: parameter.distribution for parameter in _spec(problem, algorithm, seed).parameters}
    values: list[float | None] = []
    start = time.perf_counter()
    for _ in range(NUM_TRIALS):
        trial = study.ask(distributions)
        values.append(value(trial.params) if trial.params["x"] <= EDGE else None)
        study.tell(trial, values[-1], TrialState.COMPLETE if values[-1] is not None else TrialState.FAIL)
    return _outcome(values, optimum, time.perf_counter() - start)


def _stock_sampler(algorithm: str, seed: int) -> optuna.samplers.BaseSampler:
    match algorithm:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp" | "curve_gp":
            return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "qmc":
            return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        case _:
            return optuna.samplers.RandomSampler(seed=seed)


def search_ours(problem: str, algorithm: str, seed: int, trainable: type = Formula) -> Outcome:
    searched = PROBLEMS[problem]
    values: list[float | None] = []
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal") as journal:
        search = Search(_spec(problem, algorithm, seed, trainable), journal)
        start = time.perf_counter()
        while (proposal := search.propose()) is not None:
            x = proposal.config["x"]
            needed = int((1.0 + 10.0 * x) * 2**30)
            if x > EDGE:
                values.append(None)
                search.take(proposal.number, Ended("infeasible", "out of memory", needed_memory_bytes=needed))
                continue
            for iteration in range(1, searched.num_iterations + 1):
                value = searched.value_at(proposal.config, iteration)
                report = Report(
                    iteration=iteration,
                    value=value,
                    metrics={},
                    checkpoint=None,
                    seconds=0.0,
                    done=iteration == searched.num_iterations,
                    peak_memory_bytes=needed,
                    memory_limit_bytes=int((1.0 + 10.0 * EDGE) * 2**30),
                )
                if search.take(proposal.number, report) is not Decision.CONTINUE:
                    break
            values.append(value)
    return _outcome(values, searched.optimum, time.perf_counter() - start)


def search_with_estimate(problem: str, algorithm: str, seed: int) -> Outcome:
    return search_ours(problem, algorithm, seed, SizedFormula)


SIDES = {
    "stock": search_stock,
    "ours": search_ours,
    "ours, memory estimated": search_with_estimate,
}


def _spec(problem: str, algorithm: str, seed: int, trainable: type = Formula) -> SearchSpec:
    num_iterations = PROBLEMS[problem].num_iterations
    document = {
        "name": "infeasible",
        "trainable": f"{__spec__.name if __spec__ else __name__}:{trainable.__name__}",
        "space": PROBLEMS[problem].space,
        "objective": {"metric": "value", "mode": "max"},
        "search": {"algorithm": algorithm, "trials": NUM_TRIALS, "seed": seed},
        "scheduler": {"name": "none"} if num_iterations == 1 else {"grace_iters": 1, "max_iters": num_iterations},
        "resources": {"cpu": 1},
    }
    return parse_space(document, Path.cwd(), "infeasible.yaml")


def _outcome(values: list[float | None], optimum: float, seconds: float) -> Outcome:
    assert len(values) == NUM_TRIALS
    found = [value for value in values if value is not None]
    return Outcome(len(values) - len(found), max(found, default=-math.inf) / optimum, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=["curve_gp", "tpe"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    record.add_option(parser)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{NUM_TRIALS} trials, seeds 0 to {arguments.seeds - 1}; median (lowest to highest)\n")
    print("| problem, algorithm | side | infeasible | best found, of the optimum | ms a trial |")
    print("|---|---|---|---|---|")
    figures: dict[str, Figure] = {}
    for problem in arguments.problems:
        for algorithm in arguments.algorithms:
            for side in arguments.sides:
                run = SIDES[side]
                outcomes = [run(problem, algorithm, seed) for seed in range(arguments.seeds)]
                lost = Figure.of([outcome.num_infeasible for outcome in outcomes], "trials", "lower")
                best = Figure.of([100 * outcome.best for outcome in outcomes], "%", "higher")
                cost = Figure.of([1000 * outcome.seconds / NUM_TRIALS for outcome in outcomes], "ms", "lower")
                cells = f"{_spread(lost, '.0f')} | {_spread(best, '.1f')} % | {cost.value:.0f}"
                print(f"| {problem}, {algorithm} | {side} | {cells} |", flush=True)
                for name, figure in (("infeasible", lost), ("best found, of the optimum", best), ("a trial", cost)):
                    figures[f"{problem}, {algorithm}, {side}: {name}"] = figure
    record.write("infeasible", arguments, figures)


def _spread(figure: Figure, form: str) -> str:
    low, high = figure.spread or (figure.value, figure.value)
    return f"{figure.value:{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    main()
