import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from raysearch.config.choices import categorical
from raysearch.history.events import (
    Begun,
    Ended,
    Event,
    Extended,
    FirstPoint,
    Paused,
    Report,
    Started,
    TakenUp,
    WorkerLost,
)
from raysearch.history.journal import Journal, read_records
from raysearch.history.pareto import pareto_set
from raysearch.history.records import Operation, fact_of, lines_of
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
    first = next(iter(read_records(tmp_path / "study.journal")))
    sections = first["raysearch"].pop("sections")
    assert first == {
        "op_code": 0,
        "worker_id": "raysearch",
        "study_name": "toy",
        "directions": [2],
        "raysearch": {"trials": 24},
    }
    assert set(sections) == {"trainable", "config", "space", "objective", "search", "scheduler"}


def test_one_suggestion_is_one_line(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path), tmp_path / "study.journal")
    records = list(read_records(tmp_path / "study.journal"))
    assert sum(record["op_code"] == Operation.CREATE_TRIAL for record in records) == len(history.trials)
    assert sum(record["op_code"] == Operation.SET_TRIAL_VALUE for record in records) == sum(
        len(t.reports) for t in history.trials
    )


KEPT = Path(__file__).parents[1] / "fixtures" / "lines_of_events.journal"
"""Lines that earlier versions wrote for `EVENTS`."""

EVENTS: tuple[tuple[int | None, Event], ...] = (
    (None, Begun("toy", "max", 24, [{"op_code": 4}], [FirstPoint({"x": 0.5}, "notes.csv, line 2")], [("cost", "min")])),
    (None, Extended(30)),
    (None, Extended(31, retry=[2])),
    (
        None,
        Started(
            params={"x": 0.5, "size": [1, 2]},
            distributions={"x": FloatDistribution(0.0, 1.0), "size": categorical([[1, 2], [3, 4]])},
            values={"x": 0.5, "size": [1, 2]},
            is_default=False,
            is_audited=True,
            origin="retry of trial 2",
            memory_estimate=("pixels", 4096.0),
            retry_of=2,
        ),
    ),
    (None, Started({}, {}, {"x": 0.5}, is_default=True)),
    (
        0,
        Report(
            iteration=2,
            value=0.75,
            metrics={"loss": 0.5, "iou": [0.5, 1.0]},
            checkpoint="checkpoint-00000002",
            seconds=1.5,
            done=False,
            violations={"loss <= 0.4": 0.25},
            peak_memory_bytes=100,
            memory_limit_bytes=200,
            worker="host:17",
        ),
    ),
    (1, Report(8, 0.5, {}, None, 1.0, done=True)),
    (0, Paused()),
    (0, TakenUp()),
    (0, WorkerLost("killed by signal 9", times=2)),
    (
        0,
        Ended(
            "infeasible",
            "out of memory",
            peak_memory_bytes=100,
            needed_memory_bytes=300,
            excess=0.5,
            details="Traceback",
            values=(0.75, 0.5),
            broken={"loss <= 0.4": 0.25},
        ),
    ),
    (1, Ended("completed", values=(0.5,))),
    (2, Ended("failed", "KeyError: 'x'", values=(0.5,))),
    (3, Ended("infeasible", "score is nan at iteration 4")),
)
"""Number of a trial and an event: every kind of event, with and without its optional fields."""


def test_the_lines_of_an_event_stay_as_they_always_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.history.records.time.time", lambda: 1000.5)
    with Journal(tmp_path / "study.journal") as journal:
        for number, event in EVENTS:
            journal.append(lines_of(event, number))
    written = [
        {**record, "raysearch": extra} if (extra := record.pop("raysearch")) else record
        for record in read_records(tmp_path / "study.journal")
    ]
    assert [json.dumps(record, separators=(",", ":")) for record in written] == KEPT.read_text().splitlines()


def test_every_line_is_read_as_the_event_that_it_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.history.records.time.time", lambda: 1000.5)
    records = [record for record in read_records(KEPT) if fact_of(record) is not None]
    facts = [fact for record in records if (fact := fact_of(record)) is not None]
    assert [(fact.trial, type(fact.event)) for fact in facts] == [(number, type(event)) for number, event in EVENTS]
    assert {fact.time for fact in facts} == {0.0, 1000.5}
    for fact, record in zip(facts, records, strict=True):
        assert json.dumps(lines_of(fact.event, fact.trial)[-1]) == json.dumps(record)
