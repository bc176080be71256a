"""Share of a Pareto front that is found: python -m benchmarks.several_objectives [--seeds 11] [--trials 60].

The problem is ZDT1 (Zitzler, Deb and Thiele, 2000) in ten variables: f1 = x1 against f2 = g (1 - sqrt(x1 / g)), with g
= 1 + 9 mean(x2 ... x10). Both are minimised. Figure: the hypervolume that all trials together dominate below the
reference point (1, 10). That of the front is 9.667.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from benchmarks import record
from benchmarks.record import Figure
from raysearch.history.events import Report
from raysearch.history.journal import Journal
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

ALGORITHMS = ("random", "nsga2", "tpe")
NUM_VARIABLES = 10
REFERENCE = (1.0, 10.0)


class Formula:
    """A stand-in for the trainable that a space file must name."""


def zdt1(config: Mapping[str, Any]) -> tuple[float, float]:
    x = [float(config[f"x{i}"]) for i in range(1, NUM_VARIABLES + 1)]
    g = 1.0 + 9.0 * math.fsum(x[1:]) / (NUM_VARIABLES - 1)
    return x[0], g * (1.0 - math.sqrt(x[0] / g))


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """Return the area between the points and the reference point; small values are good."""
    volume, lowest = 0.0, REFERENCE[1]
    for first, second in sorted(points):
        if first < REFERENCE[0] and second < lowest:
            volume += (REFERENCE[0] - first) * (lowest - second)
            lowest = second
    return volume


def search(algorithm: str, seed: int, num_trials: int) -> float:
    points = []
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal") as journal:
        running = Search(_spec(algorithm, seed, num_trials), journal)
        while (proposal := running.propose()) is not None:
            points.append(zdt1(proposal.config))
            running.take(
                proposal.number,
                Report(
                    iteration=1,
                    value=points[-1][0],
                    metrics={"f1": points[-1][0], "f2": points[-1][1]},
                    checkpoint=None,
                    seconds=0.0,
                    done=True,
                ),
            )
    assert len(points) == num_trials
    return hypervolume(points)


def _spec(algorithm: str, seed: int, num_trials: int) -> SearchSpec:
    document = {
        "name": "zdt1",
        "trainable": f"{__spec__.name if __spec__ else __name__}:{Formula.__name__}",
        "space": {f"x{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(1, NUM_VARIABLES + 1)},
        "objective": [{"metric": "f1", "mode": "min"}, {"metric": "f2", "mode": "min"}],
        "search": {"algorithm": algorithm, "trials": num_trials, "seed": seed},
        "scheduler": {"name": "none"},
        "resources": {"cpu": 1},
    }
    return parse_space(document, Path.cwd(), "zdt1.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=11)
    parser.add_argument("--trials", type=int, default=60)
    record.add_option(parser)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| algorithm | hypervolume, median (lowest to highest) | of random's |\n|---|---|---|")
    base = math.nan
    figures: dict[str, Figure] = {}
    for algorithm in ALGORITHMS:
        found = [search(algorithm, seed, arguments.trials) for seed in range(arguments.seeds)]
        base = median(found) if algorithm == "random" else base
        ratio = median(found) / base
        print(f"| {algorithm} | {median(found):.2f} ({min(found):.2f} to {max(found):.2f}) | {ratio:.2f} |", flush=True)
        figures[f"{algorithm}: hypervolume"] = Figure.of(found, "", "higher")
    record.write("several_objectives", arguments, figures)


if __name__ == "__main__":
    main()
