import math
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from scipy.optimize import root
from scipy.special import expit

from raysearch.algorithms import _MAX_SUSPECTS, suggest
from raysearch.algorithms.feasibility import _MEAN, Feasibility, _fit, _kernel
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import toy_spec

UNIT = {"type": "float", "low": 0.0, "high": 1.0}
LOG = {"type": "float", "low": 1e-4, "high": 1.0, "log": True}


def spec_of(folder: Path, space: dict[str, Any], algorithm: str = "tpe", seed: int = 0) -> SearchSpec:
    search = {"algorithm": algorithm, "trials": 60, "seed": seed}
    return toy_spec(folder, space=space, search=search, scheduler={"name": "none", "max_iters": 8})


def add(history: History, spec: SearchSpec, values: dict[str, Any], status: str, value: float = 0.0) -> None:
    distributions = {p.path: p.distribution for p in spec.parameters if p.path in values}
    trial = TrialHistory(len(history.trials), values, values, distributions, started=0.0, is_default=False)
    if status in ("completed", "stopped"):
        trial.reports[8] = Report(8, value, {}, None, 1.0, done=False)
    trial.status = status  # type: ignore[assignment]
    trial.end_order = None if status == "running" else trial.number
    history.add(trial)


def history_of(spec: SearchSpec, *endings: tuple[dict[str, Any], str]) -> History:
    history = History()
    for values, status in endings:
        add(history, spec, values, status)
    return history


def search(spec: SearchSpec, num_trials: int, infeasible: Any) -> History:
    """Return the history of trials that run one after another; feasible ones score x."""
    history = History()
    for number in range(num_trials):
        values = suggest(spec, history, number)
        assert values is not None
        add(history, spec, values, "infeasible" if infeasible(values) else "completed", values["x"])
    return history


def num_infeasible(history: History) -> int:
    return sum(trial.status == "infeasible" for trial in history.trials)


def test_the_probability_rises_from_successes_to_failures(tmp_path: Path) -> None:
    """On the log scale, slope = 1e-2 is halfway between the ends."""
    spec = spec_of(tmp_path, {"x": UNIT, "slope": LOG})
    successes = [({"x": 0.2, "slope": 1e-2}, "completed"), ({"x": 0.5, "slope": 1e-2}, "stopped")] * 4
    history = history_of(spec, *successes, ({"x": 0.8, "slope": 1e-2}, "infeasible"))
    doubts = [Feasibility(spec, history).doubt({"x": x, "slope": 1e-2}) for x in (0.1, 0.5, 0.6, 0.7, 0.8, 0.95)]
    assert doubts == sorted(doubts)
    assert doubts[1] < 0 < doubts[3]


def test_the_edge_is_found_in_the_parameter_that_sets_it(tmp_path: Path) -> None:
    """Successes and failures alternate along x up to 0.6, at random slopes; at another slope, x decides too."""
    spec = spec_of(tmp_path, {"x": UNIT, "slope": LOG})
    rng = np.random.default_rng(0)
    xs = [0.1, 0.7, 0.3, 0.9, 0.5, 0.65, 0.55, 0.62, 0.4, 0.58]
    ended = [({"x": x, "slope": 10 ** float(rng.uniform(-4, 0))}, "infeasible" if x > 0.6 else "completed") for x in xs]
    feasibility = Feasibility(spec, history_of(spec, *ended))
    for slope in (1e-4, 1e-2, 1.0):
        assert feasibility.doubt({"x": 0.5, "slope": slope}) < feasibility.doubt({"x": 0.75, "slope": slope})
        assert feasibility.doubt({"x": 0.75, "slope": slope}) > 0


def test_the_probability_equals_that_of_newtons_method_on_the_log_odds() -> None:
    """For fixed points, the mode of the log odds solves K^-1 (f - mean) = outcomes - sigmoid(f)."""
    successes, failures = np.array([[0.1, 0.4], [0.3, 0.9]]), np.array([[0.8, 0.5]])
    model = _fit(successes, failures)
    points, outcomes = np.concatenate([successes, failures]), np.array([0.0, 0.0, 1.0])
    prior = _kernel(points, points)
    odds = root(lambda f: f - _MEAN - prior @ (outcomes - expit(f)), np.full(3, _MEAN), tol=1e-12).x
    assert model.residuals == pytest.approx(outcomes - expit(odds), abs=1e-4)
    new = np.array([0.6, 0.2])
    covariance = _kernel(new[None], points)[0]
    curvature = expit(odds) * (1 - expit(odds))
    variance = _kernel(new[None], new[None])[0, 0] - covariance @ np.linalg.solve(
        prior + np.diag(1 / curvature), covariance
    )
    mean = _MEAN + covariance @ (outcomes - expit(odds))
    assert model.probability(new) == pytest.approx(expit(mean / math.sqrt(1 + math.pi * variance / 8)), abs=1e-3)


def test_only_few_trials_may_be_lost(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {"x": UNIT})
    few = history_of(spec, *[({"x": 0.1 * k}, "completed") for k in range(5)], ({"x": 0.8}, "infeasible"))
    many = history_of(spec, *[({"x": 0.1 * k}, "infeasible") for k in range(4, 9)])
    assert Feasibility(spec, few).accepted_risk == pytest.approx(0.1 * (3.0 + 0.1 * 7 - 1))
    assert Feasibility(spec, many).accepted_risk == 0.05


def test_choices_shift_the_edge_and_other_parameters_tell_nothing(tmp_path: Path) -> None:
    space = {"x": UNIT, "kind": {"type": "categorical", "choices": ["a", "b"]}}
    space["slope"] = {**UNIT, "when": {"kind": "b"}}
    spec = spec_of(tmp_path, space)
    successes = [({"x": 0.5, "kind": "a"}, "completed")] * 9
    history = history_of(spec, *successes, ({"x": 0.9, "kind": "a"}, "infeasible"))
    assert Feasibility(spec, history).doubt({"x": 0.9, "kind": "b", "slope": 0.5}) == -math.inf
    spec = spec_of(tmp_path, {"x": UNIT, "kind": space["kind"]})
    shifted = [({"x": x, "kind": "a"}, "completed" if x < 0.75 else "infeasible") for x in (0.5, 0.7, 0.8, 0.9)]
    shifted += [({"x": x, "kind": "b"}, "completed" if x < 0.25 else "infeasible") for x in (0.1, 0.2, 0.3, 0.5)]
    feasibility = Feasibility(spec, history_of(spec, *shifted))
    for x in (0.2, 0.5, 0.8):
        assert feasibility.doubt({"x": x, "kind": "a"}) < feasibility.doubt({"x": x, "kind": "b"})


def test_one_failure_does_not_close_a_choice(tmp_path: Path) -> None:
    """Kind b only fits below x = 0.5 and was first tried above it."""
    spec = spec_of(tmp_path, {"x": UNIT, "kind": {"type": "categorical", "choices": ["a", "b"]}})
    history = history_of(spec, ({"x": 0.9, "kind": "b"}, "infeasible"))
    for number in range(1, 40):
        values = suggest(spec, history, number)
        assert values is not None
        status = "infeasible" if values["kind"] == "b" and values["x"] > 0.5 else "completed"
        add(history, spec, values, status, (1 - values["x"]) * (1 + (values["kind"] == "b")))
    assert sum(trial.values["kind"] == "b" and trial.status == "completed" for trial in history.trials) >= 5


@pytest.mark.parametrize("status", ["running", "failed"])
def test_only_endings_that_tell_something_count(status: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {"x": UNIT})
    history = history_of(spec, ({"x": 0.8}, "infeasible"))
    alone = Feasibility(spec, history).doubt({"x": 0.7})
    add(history, spec, {"x": 0.7}, status)
    assert Feasibility(spec, history).doubt({"x": 0.7}) == alone > 0


@pytest.mark.parametrize("algorithm", ["tpe", "random", "qmc", "cmaes"])
def test_few_trials_are_lost_and_an_optimum_at_the_edge_is_found(algorithm: str, tmp_path: Path) -> None:
    """Memory fails for x > 0.6 and the value rises up to there."""
    history = search(spec_of(tmp_path, {"x": UNIT, "slope": LOG}, algorithm), 60, lambda values: values["x"] > 0.6)
    assert num_infeasible(history) <= 9
    best = max(trial.values["x"] for trial in history.trials if trial.status == "completed")
    assert best > 0.97 * 0.6


@pytest.mark.parametrize("algorithm", ["tpe", "random", "qmc", "cmaes"])
def test_a_space_in_which_all_is_infeasible_is_searched_on(algorithm: str, tmp_path: Path) -> None:
    history = search(spec_of(tmp_path, {"x": UNIT, "slope": LOG}, algorithm), 12, lambda values: True)
    xs = sorted(trial.values["x"] for trial in history.trials)
    assert len(set(xs)) == 12
    assert xs[0] < 0.25 and xs[-1] > 0.75, "what is least suspect lies far from the failures"


def test_the_last_untried_values_are_tried_however_suspect(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {"n": {"type": "int", "low": 1, "high": 6}})
    history = History()
    while (values := suggest(spec, history, len(history.trials))) is not None:
        add(history, spec, values, "infeasible")
    assert sorted(trial.values["n"] for trial in history.trials) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("algorithm", ["tpe", "random", "qmc", "cmaes"])
def test_without_an_infeasible_trial_nothing_is_drawn_again(algorithm: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {"x": UNIT, "slope": LOG}, algorithm)
    ours = search(spec, 16, lambda values: False)
    with mock.patch("raysearch.algorithms.Feasibility.doubt", return_value=0.0):
        plain = search(spec, 16, lambda values: False)
    assert [trial.values for trial in ours.trials] == [trial.values for trial in plain.trials]


def test_an_algorithm_is_asked_a_bounded_number_of_times(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {"x": UNIT})
    history = history_of(spec, ({"x": 0.5}, "infeasible"), ({"x": 0.51}, "infeasible"))
    with mock.patch("raysearch.algorithms._draw", side_effect=lambda *_: {"x": 0.505}) as draw:
        values = suggest(spec, history, 2)
    assert draw.call_count == _MAX_SUSPECTS
    assert values is not None
    assert abs(values["x"] - 0.505) > 0.3, "draws at random follow, and one of them is farther away"
