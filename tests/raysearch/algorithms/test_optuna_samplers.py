from pathlib import Path

from optuna.samplers import TPESampler

from raysearch.algorithms.optuna_samplers import _NUM_BEST, _NUM_OTHERS, _as_tpe_learns, _study, window
from raysearch.history.events import Report, Status
from raysearch.history.history import History
from tests.raysearch.algorithms.test_algorithms import ended
from tests.raysearch.toy import toy_spec


def test_the_window_holds_the_best_the_running_and_a_seeded_rest(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, space={"x": {"type": "float", "low": 0.0, "high": 1.0}})
    history = History()
    for number in range(1000):
        history.add(ended(spec, number, {"x": number / 1000}, number / 1000))
    history.add(ended(spec, 1000, {"x": 0.5}, 0.0, status="running"))
    seen = window(history, seed=1)
    assert len(seen) == _NUM_BEST + _NUM_OTHERS + 1
    assert {trial.number for trial in seen} >= set(range(975, 1001))
    assert [t.number for t in seen] == [t.number for t in window(history, seed=1)]
    assert [t.number for t in seen] != [t.number for t in window(history, seed=2)]


def test_tpe_is_told_curves_with_their_steps_and_excesses_as_they_were_measured(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, space={"x": {"type": "float", "low": 0.0, "high": 1.0}})
    history = History()
    endings: list[tuple[Status, dict[int, float]]] = [
        ("completed", {1: 0.1, 8: 0.5}),
        ("stopped", {1: 0.4, 2: 0.3}),
        ("infeasible", {1: 0.2}),
        ("running", {}),
    ]
    for number, (status, curve) in enumerate(endings):
        trial = ended(spec, number, {"x": 0.1 * number}, 0.0)
        trial.reports = {
            iteration: Report(iteration, value, {}, None, 1.0, False) for iteration, value in curve.items()
        }
        trial.status = status
        history.add(trial)
    history.trials[2].excess = 0.25
    told = _study(history, TPESampler(), 0, _as_tpe_learns).trials
    assert [trial.state.name for trial in told] == ["COMPLETE", "PRUNED", "PRUNED", "RUNNING"]
    assert [trial.intermediate_values for trial in told] == [curve for _, curve in endings]
    assert [trial.constraints for trial in told] == [{"feasible": 0.0}, {"feasible": 0.0}, {"feasible": 0.25}, {}]
