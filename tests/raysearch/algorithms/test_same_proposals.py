"""Tests that proposals never change, so that a search resumed by a newer version continues as it would have."""

import json
from pathlib import Path
from typing import Any

import pytest

from raysearch.algorithms import suggest
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec
from tests.raysearch.algorithms.test_algorithms import ALGORITHMS, spec_for
from tests.raysearch.toy import SCORE_AND_COST, cost, run_search, score, toy_spec

PROPOSED = Path(__file__).with_name("proposals.json")
"""Proposals of every algorithm by the name of the case, stored before the algorithms became samplers of Optuna."""

CASES = [
    *(f"search {algorithm}" for algorithm in ALGORITHMS if algorithm != "gp"),  # gp takes long
    *(f"{kind} {algorithm}" for kind in ("parallel", "constrained") for algorithm in ALGORITHMS),
    "several tpe",
    "several nsga2",
    "long tpe",
]


def searched(spec: SearchSpec, folder: Path) -> list[Any]:
    return [trial.values for trial in run_search(spec, folder / "journal").trials]


def known(spec: SearchSpec, number: int, num_trials: int) -> TrialHistory:
    """Return trial `number` of a history: two of twelve infeasible, every third stopped, the last one running."""
    values: dict[str, Any] = {"x": (number * 0.37) % 1.0, "n": 1 + (number * 29) % 100, "kind": "ab"[number % 2]}
    if spec.search.algorithm == "grid":
        values |= {"x": 0.25 * (number % 5), "n": 1 + number % 3}
    if values["kind"] == "b":
        values["slope"] = 0.1 if spec.search.algorithm == "grid" else 0.1 + (number * 0.19) % 0.9
    distributions = {p.path: p.distribution for p in spec.parameters if p.path in values}
    trial = TrialHistory(number, values, values, distributions, started=0.0, is_default=False)
    last = {0: 8, 1: 8, 2: 4}[number % 3]
    if number >= num_trials - 3:
        last = number % 3
    elif number % 12 in (5, 9):
        trial.status, last = "infeasible", 1
    else:
        trial.status = "completed" if last == 8 else "stopped"
    for iteration in range(1, last + 1):
        reached = 0.5 if values["x"] > 0.8 else score({"slope": 0.0, **values}, iteration)
        trial.reports[iteration] = Report(iteration, reached, {"cost": cost(values)}, None, 1.0, done=False)
    trial.end_order = None if trial.status == "running" else number
    return trial


def next_ones(spec: SearchSpec, num_trials: int, num_next: int = 3) -> list[Any]:
    history = History()
    history.trials = [known(spec, number, num_trials) for number in range(num_trials)]
    return [suggest(spec, history, number) for number in range(num_trials, num_trials + num_next)]


def proposed(case: str, folder: Path) -> list[Any]:
    kind, algorithm = case.split()
    match kind:
        case "search":
            return searched(spec_for(algorithm, folder, trials=13), folder)
        case "parallel":
            return next_ones(spec_for(algorithm, folder), num_trials=18)
        case "constrained":
            return searched(spec_for(algorithm, folder, trials=8, constraints=["0.05 * n <= x"]), folder)
        case "several":
            return searched(spec_for(algorithm, folder, trials=13, objective=SCORE_AND_COST), folder)
    return next_ones(toy_spec(folder, search={"algorithm": algorithm, "trials": 999, "seed": 3}), 310, num_next=1)


@pytest.mark.parametrize("case", CASES)
def test_proposals_are_those_of_before(case: str, tmp_path: Path) -> None:
    expected = json.loads(PROPOSED.read_text())[case]
    assert proposed(case, tmp_path) == [pytest.approx(values) for values in expected]
