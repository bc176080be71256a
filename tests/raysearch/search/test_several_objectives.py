"""Tests of a search for several objectives, from suggestions to rungs."""

import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from raysearch.algorithms import suggest
from raysearch.algorithms.optuna_samplers import _NUM_BEST, _NUM_OTHERS, window
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory
from raysearch.history.journal import Journal
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.history.pareto import nondominated_ranks, pareto_set
from raysearch.schedulers import Decision
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import SCORE_AND_COST, facts, leave_journal, run_search, toy_spec

BY_RANK = {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8, "by": "nondominated_rank"}
LINE = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "slope": {"type": "float", "low": 0.0, "high": 1.0}}


def spec_for(folder: Path, algorithm: str = "tpe", trials: int = 18, **sections: Any) -> SearchSpec:
    sections.setdefault("search", {"algorithm": algorithm, "trials": trials, "seed": 3})
    return toy_spec(folder, objective=SCORE_AND_COST, **sections)


@pytest.mark.parametrize("algorithm", ["tpe", "random", "qmc", "nsga2"])
def test_the_same_seed_gives_the_same_search(algorithm: str, tmp_path: Path) -> None:
    spec = spec_for(tmp_path, algorithm)
    history = run_search(spec, tmp_path / "a.journal")
    assert all(("slope" in t.values) == (t.values["kind"] == "b") for t in history.trials[1:])
    values = [trial.values for trial in history.trials]
    assert all(values.count(v) == 1 for v in values)
    assert facts(run_search(spec, tmp_path / "b.journal")) == facts(history)


def test_cutting_the_journal_anywhere_gives_the_same_search(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "nsga2", scheduler=BY_RANK)
    expected = run_search(spec, tmp_path / "whole.journal")
    assert {trial.status for trial in expected.trials} == {"completed", "stopped", "infeasible"}
    data = (tmp_path / "whole.journal").read_bytes()
    for cut in random.Random(0).sample(range(len(data)), 8):
        path = tmp_path / "cut.journal"
        leave_journal(path, data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"


def report(search: Search, value: float, metrics: dict[str, Any], peak_memory_bytes: int | None = None) -> Decision:
    """Start the next trial and report once for it at the first rung."""
    proposal = search.propose()
    assert proposal is not None
    return search.take(
        proposal.number,
        Report(
            iteration=2,
            value=value,
            metrics=metrics,
            checkpoint=None,
            seconds=1.0,
            done=False,
            peak_memory_bytes=peak_memory_bytes,
        ),
    )


@pytest.mark.parametrize(("by", "last"), [("first", Decision.STOP), ("nondominated_rank", Decision.CONTINUE)])
def test_the_rule_by_rank_lets_the_cheapest_trial_on(by: str, last: Decision, tmp_path: Path) -> None:
    """Of four trials on one front the rung passes two; by rank, these are the two ends of the front."""
    spec = spec_for(tmp_path, scheduler={**BY_RANK, "by": by, "audit_fraction": 0.0})
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        decisions = [report(search, v, {"cost": c}) for v, c in [(0.9, 5.0), (0.8, 4.0), (0.7, 3.0), (0.3, 1.0)]]
    assert decisions == [Decision.CONTINUE, Decision.STOP, Decision.STOP, last]


@pytest.mark.parametrize(
    ("metrics", "status", "error"),
    [
        ({}, "failed", "it reported no number as cost at iteration 2"),
        ({"cost": [1.0, 2.0]}, "failed", "it reported no number as cost at iteration 2"),
        ({"cost": math.inf}, "infeasible", "cost is inf at iteration 2"),
    ],
)
def test_every_objective_must_be_a_number(metrics: dict[str, Any], status: str, error: str, tmp_path: Path) -> None:
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec_for(tmp_path), journal)
        assert report(search, 0.5, metrics) is Decision.STOP
        trial = search.history.trials[0]
    assert (trial.status, trial.error, trial.reports) == (status, error, {})


def test_peak_memory_is_an_objective_that_is_measured_around_the_trial(tmp_path: Path) -> None:
    objectives = [SCORE_AND_COST[0], {"metric": PEAK_MEMORY, "mode": "min"}]
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path, objective=objectives), journal)
        report(search, 0.5, {}, 1000)
        report(search, 0.4, {})
        first, second = search.history.trials
    assert search.history.values_of(first) == (0.5, 1000.0)
    assert (second.status, second.error) == ("failed", "it reported no number as peak_memory_bytes at iteration 2")


def search_a_front(spec: SearchSpec) -> History:
    """Return a search with score 1 - x^2 - d and cost (1 - x)^2 + d, d = |slope - 0.5|; the front is slope = 0.5."""
    history = History()
    history.further = (("cost", "min"),)
    for number in range(spec.search.trials):
        values = suggest(spec, history, number)
        assert values is not None
        off = abs(values["slope"] - 0.5)
        add(history, spec, values, 1 - values["x"] ** 2 - off, (1 - values["x"]) ** 2 + off)
    return history


def add(history: History, spec: SearchSpec, values: dict[str, Any], score: float, cost: float) -> None:
    number = len(history.trials)
    distributions = {p.path: p.distribution for p in spec.parameters if p.path in values}
    trial = TrialHistory(number, values, values, distributions, 0.0, is_default=False, status="completed")
    trial.reports[8] = Report(8, score, {"cost": cost}, None, 1.0, done=False)
    history.add(trial)


def test_a_gaussian_process_learns_from_all_objectives(tmp_path: Path) -> None:
    """Both objectives are best at x = 0.75."""
    spec = spec_for(tmp_path, "gp", space={"x": LINE["x"]})
    history = History()
    history.further = (("cost", "min"),)
    for number in range(12):
        x = (number + 0.5) / 12
        add(history, spec, {"x": x}, -abs(x - 0.75), (x - 0.75) ** 2)
    values = suggest(spec, history, 12)
    assert values == suggest(spec, history, 12)
    assert values is not None
    assert 0.7 < values["x"] < 0.8


def hypervolume(history: History) -> float:
    """Return the area that the front dominates, up to score -1 and cost 2."""
    points = sorted((-values[0], values[1]) for t in history.trials if (values := history.values_of(t)))
    area, lowest = 0.0, 2.0
    for loss, cost in points:
        area += max(0.0, 1.0 - loss) * max(0.0, lowest - cost)
        lowest = min(lowest, cost)
    return area


@pytest.mark.parametrize("algorithm", ["tpe", "nsga2"])
def test_model_based_search_covers_more_of_a_front_than_random(algorithm: str, tmp_path: Path) -> None:
    def areas(algorithm: str) -> list[float]:
        specs = [
            spec_for(tmp_path, algorithm, space=LINE, search={"algorithm": algorithm, "trials": 40, "seed": seed})
            for seed in range(3)
        ]
        return sorted(hypervolume(search_a_front(spec)) for spec in specs)

    assert areas(algorithm)[1] > areas("random")[1]


def test_the_window_holds_a_front_from_end_to_end(tmp_path: Path) -> None:
    """1000 trials lie on two lines, one of which dominates the other; the best are spread over the better line."""
    spec = spec_for(tmp_path, space=LINE)
    history = History()
    history.further = (("cost", "min"),)
    for number in range(1000):
        add(history, spec, {"x": number / 1000, "slope": 0.5}, number / 1000, number / 1000 + number % 2)
    seen = {trial.number for trial in window(history, seed=1)}
    other = {trial.number for trial in window(history, seed=2)}
    assert len(seen) == _NUM_BEST + _NUM_OTHERS
    always = sorted(seen & other)
    assert {0, 998} <= seen & other
    front = [number for number in always if number % 2 == 0]
    assert max(b - a for a, b in pairwise(front)) <= 100


def test_the_pareto_set_of_a_search_is_its_first_front(tmp_path: Path) -> None:
    history = run_search(spec_for(tmp_path), tmp_path / "study.journal")
    scored = [t for t in history.trials if t.status in ("completed", "stopped")]
    ranks = nondominated_ranks([history.losses(history.values_of(t) or ()) for t in scored])
    assert {t.number for t in pareto_set(history)} == {t.number for t, r in zip(scored, ranks, strict=True) if r == 0}
