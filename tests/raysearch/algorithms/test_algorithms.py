import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.algorithms import suggest
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec
from tests.raysearch.algorithms import curves
from tests.raysearch.toy import facts, run_search, toy_spec

ALGORITHMS = ["tpe", "random", "qmc", "grid", "cmaes", "gp", "nsga2", "curve_gp"]

GRID_SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25},
    "n": {"type": "int", "low": 1, "high": 3},
    "kind": {"type": "categorical", "choices": ["a", "b"]},
    "slope": {"type": "float", "low": 0.1, "high": 1.0, "step": 0.3, "when": {"kind": "b"}},
}


def spec_for(algorithm: str, folder: Path, trials: int = 18, **sections: Any) -> SearchSpec:
    if algorithm == "grid":
        sections["space"] = GRID_SPACE
    return toy_spec(folder, search={"algorithm": algorithm, "trials": trials, "seed": 3}, **sections)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_contract(algorithm: str, tmp_path: Path) -> None:
    """Values lie in the space, conditions hold, nothing is tried twice, and the same seed gives the same search."""
    trials = 14 if algorithm == "gp" else 18
    spec = spec_for(algorithm, tmp_path, trials)
    history = run_search(spec, tmp_path / "a.journal")
    assert len(history.trials) == trials
    by_path = {parameter.path: parameter for parameter in spec.parameters}
    for trial in history.trials[1:]:
        assert ("slope" in trial.values) == (trial.values["kind"] == "b")
        for path, value in trial.values.items():
            assert trial.params[path] == value, f"{path} = {value!r} lies outside {by_path[path].distribution}"
    values = [trial.values for trial in history.trials]
    assert all(values.count(v) == 1 for v in values)
    assert facts(run_search(spec, tmp_path / "b.journal")) == facts(history)


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a != "grid"])
def test_another_seed_gives_another_search(algorithm: str, tmp_path: Path) -> None:
    spec = spec_for(algorithm, tmp_path, trials=4)
    other = toy_spec(tmp_path, search={"algorithm": algorithm, "trials": 4, "seed": 4})
    first = [suggest(s, History(), 1) for s in (spec, other)]
    assert first[0] != first[1]


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "curve_gp", "cmaes"])
def test_model_based_search_beats_random_on_a_bowl(algorithm: str, tmp_path: Path) -> None:
    space = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "slope")}

    trials = 16 if algorithm in ("gp", "curve_gp") else 40

    def best_loss(algorithm: str, seed: int) -> float:
        spec = toy_spec(
            tmp_path,
            space=space,
            search={"algorithm": algorithm, "trials": trials, "seed": seed},
            scheduler={"name": "none", "max_iters": 8},
        )
        history = History()
        losses = []
        for number in range(trials):
            values = suggest(spec, history, number)
            assert values is not None
            losses.append((values["x"] - 0.3) ** 2 + (values["slope"] - 0.7) ** 2)
            history.add(ended(spec, number, values, -losses[-1]))
        return min(losses)

    losses = sorted(best_loss(algorithm, seed) for seed in range(3))
    baseline = sorted(best_loss("random", seed) for seed in range(3))
    assert losses[1] < baseline[1]


def ended(
    spec: SearchSpec, number: int, values: dict[str, Any], value: float, status: str = "completed"
) -> TrialHistory:
    distributions = {p.path: p.distribution for p in spec.parameters if p.path in values}
    trial = TrialHistory(number, values, values, distributions, started=0.0, is_default=False)
    if status == "completed":
        trial.reports[8] = Report(8, value, {}, None, 1.0, done=False)
    trial.status = status  # type: ignore[assignment]
    trial.end_order = number
    return trial


@pytest.mark.parametrize(("algorithm", "trials"), [("tpe", 40), ("gp", 24), ("curve_gp", 24)])
def test_infeasible_regions_are_left(algorithm: str, trials: int, tmp_path: Path) -> None:
    """Trials beyond 0.6 run out of memory, but the objective rises; a search that forgets failures stays there."""
    spec = toy_spec(
        tmp_path,
        space={"x": {"type": "float", "low": 0.0, "high": 1.0}},
        search={"algorithm": algorithm, "trials": trials, "seed": 0},
        scheduler={"name": "none", "max_iters": 8},
    )
    history = History()
    for number in range(trials):
        values = suggest(spec, history, number)
        assert values is not None
        status = "infeasible" if values["x"] > 0.6 else "completed"
        history.add(ended(spec, number, values, values["x"], status))
    late = [trial.status for trial in history.trials[trials // 2 :]]
    assert late.count("infeasible") <= 0.6 * len(late)
    assert max(t.values["x"] for t in history.trials if t.status == "completed") > 0.55


SMALL_SPACE = {
    "slope": {"type": "float", "low": 0.1, "high": 0.4, "step": 0.1, "when": {"kind": "b"}},
    "kind": {"type": "categorical", "choices": ["a", "b"]},
    "n": {"type": "int", "low": 1, "high": 3},
    "x": {"type": "float", "low": 0.5, "high": 0.5},
}
"""Fifteen combinations, with a parameter that comes before its gate and one that has a single value."""


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "auto"])
def test_a_small_space_is_searched_to_its_last_config(algorithm: str, tmp_path: Path) -> None:
    """Three of the combinations violate the constraint; the default has x = 0.9 and is not among them."""
    search = {"algorithm": algorithm, "trials": 99, "seed": 0}
    sections: dict[str, Any] = {"space": SMALL_SPACE, "search": search, "constraints": ["0.1 * n <= slope"]}
    spec = toy_spec(tmp_path, scheduler={"name": "none", "max_iters": 8}, **sections)
    history = run_search(spec, tmp_path / "journal")
    tried = {tuple(trial.values.items()) for trial in history.trials[1:]}
    kind_a = {(("kind", "a"), ("n", n), ("x", 0.5)) for n in (1, 2, 3)}
    slopes = ((0.1, 1), (0.2, 2), (0.30000000000000004, 3), (0.4, 3))
    kind_b = {
        (("slope", slope), ("kind", "b"), ("n", n), ("x", 0.5)) for slope, most in slopes for n in range(1, most + 1)
    }
    assert tried == kind_a | kind_b
    assert len(history.trials) == 1 + len(tried)


def test_a_thin_part_of_a_large_finite_space_is_searched_to_its_last_config(tmp_path: Path) -> None:
    """Only three of ten thousand combinations satisfy the constraint."""
    whole = {"type": "float", "low": 0.0, "high": 99.0, "step": 1.0}
    search = {"algorithm": "tpe", "trials": 9, "seed": 0}
    sections: dict[str, Any] = {"space": {"x": whole, "slope": whole}, "search": search}
    spec = toy_spec(
        tmp_path, constraints=["100 * x <= slope", "slope <= 2"], config={"x": 0.0, "slope": 0.0}, **sections
    )
    history = run_search(spec, tmp_path / "journal")
    assert sorted(trial.values["slope"] for trial in history.trials) == [0.0, 1.0, 2.0]


def test_auto_takes_turns_for_one_objective_and_is_tpe_for_several(tmp_path: Path) -> None:
    def suggested(algorithm: str, number: int, num_ended: int, **sections: Any) -> dict[str, Any] | None:
        spec = toy_spec(tmp_path, search={"algorithm": algorithm, "trials": 40, "seed": 0}, **sections)
        history = History()
        history.trials = [curves.trial(i, {8: math.sin(i)}) for i in range(num_ended)]
        rng = np.random.default_rng(0)
        for known in history.trials:
            known.params = known.values = {"x": rng.random(), "n": int(rng.integers(1, 100)), "kind": "a"}
            known.distributions = {p.path: p.distribution for p in spec.parameters if p.path in known.values}
        return suggest(spec, history, number)

    several = [{"metric": "score", "mode": "max"}, {"metric": "loss", "mode": "min"}]
    assert suggested("auto", 8, 8) == suggested("curve_gp", 8, 8) != suggested("tpe", 8, 8)
    assert suggested("auto", 13, 13) == suggested("curve_gp", 13, 13) != suggested("tpe", 13, 13)
    assert suggested("auto", 12, 12) == suggested("tpe", 12, 12) != suggested("curve_gp", 12, 12)
    assert suggested("auto", 1, 0, objective=several) == suggested("tpe", 1, 0, objective=several)
