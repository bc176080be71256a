from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from raysearch.history.journal import read_records
from raysearch.history.pareto import pareto_set
from raysearch.history.records import Operation
from tests.raysearch.toy import SCORE_AND_COST, run_search, toy_spec


def test_optuna_reads_the_same_search(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path), tmp_path / "study.journal")

    study = optuna.load_study(
        study_name="toy", storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    )

    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert len(study.trials) == len(history.trials)
    states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "infeasible": TrialState.PRUNED}
    for ours, theirs in zip(history.trials, study.trials, strict=True):
        assert theirs.state == states[ours.status]
        assert theirs.params == pytest.approx(ours.params)
        assert theirs.intermediate_values == {i: r.value for i, r in ours.reports.items()}
        assert (theirs.constraints == {"feasible": 1.0}) == (ours.status == "infeasible")
    assert {t.status for t in history.trials} == {"completed", "stopped", "infeasible"}
    best = history.best_trial()
    assert best is not None
    assert study.best_trial.number == best.number


def test_optuna_reads_several_objectives(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path, objective=SCORE_AND_COST), tmp_path / "study.journal")

    study = optuna.load_study(
        study_name="toy", storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    )

    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    for ours, theirs in zip(history.trials, study.trials, strict=True):
        assert theirs.values == (None if not ours.reports else list(history.values_of(ours) or ()))
        assert theirs.intermediate_values == {i: r.value for i, r in ours.reports.items()}
    assert {t.status for t in history.trials} == {"completed", "stopped", "infeasible"}
    for trial in history.trials:
        if trial.status == "stopped":  # Optuna counts completed trials only
            trial.status = "failed"
    assert {t.number for t in study.best_trials} == {t.number for t in pareto_set(history)}
    assert len(study.best_trials) > 1


def test_one_objective_is_recorded_as_it_always_was(tmp_path: Path) -> None:
    run_search(toy_spec(tmp_path), tmp_path / "study.journal")
    first = (tmp_path / "study.journal").read_text().splitlines()[0]
    assert first == (
        '{"op_code":0,"worker_id":"raysearch","study_name":"toy","directions":[2],"raysearch":{"trials":24}}'
    )


def test_one_suggestion_is_one_line(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path), tmp_path / "study.journal")
    records = list(read_records(tmp_path / "study.journal"))
    assert sum(record["op_code"] == Operation.CREATE_TRIAL for record in records) == len(history.trials)
    assert sum(record["op_code"] == Operation.SET_TRIAL_VALUE for record in records) == sum(
        len(t.reports) for t in history.trials
    )
