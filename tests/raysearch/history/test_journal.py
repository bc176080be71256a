import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from raysearch.errors import InputError
from raysearch.history import journal as lines
from raysearch.history.journal import Journal, read_history
from raysearch.history.pareto import pareto_set
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


def test_a_torn_last_line_is_cut_on_opening_and_passed_over_in_reading(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append([lines.study_record("torn", "max", 5)])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"study_')

    assert read_history(path).target_trials == 5
    with Journal(path) as journal:
        assert path.read_bytes() == whole
        journal.append([lines.target_record(7)])
    assert read_history(path).target_trials == 7


def test_a_journal_of_one_torn_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(b"x" * 200_000)
    with Journal(path):
        assert path.stat().st_size == 0


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with Journal(path):
        code = f"from raysearch.history.journal import Journal; from pathlib import Path; Journal(Path({str(path)!r}))"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another raysearch is running this search" in second.stderr
    Journal(path).close()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_text(json.dumps(lines.study_record("x", "max", 1)) + "\nnot json\n")
    with pytest.raises(InputError, match=r"study\.journal: line 2"):
        read_history(path)


def test_a_full_disk_leaves_no_half_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append([lines.study_record("full", "max", 5)])
        before = path.read_bytes()
        real_write, calls = os.write, []

        def write_half(file: int, data: bytes) -> int:
            calls.append(file)
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            return real_write(file, data[: len(data) // 2])

        monkeypatch.setattr(os, "write", write_half)
        with pytest.raises(OSError, match="No space"):
            journal.append([lines.target_record(6)])
        monkeypatch.undo()
        assert path.read_bytes() == before
        journal.append([lines.target_record(6)])
    assert read_history(path).target_trials == 6


def test_one_suggestion_is_one_line(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path), tmp_path / "study.journal")
    records = list(lines.read_records(tmp_path / "study.journal"))
    assert sum(record["op_code"] == 4 for record in records) == len(history.trials)
    assert sum(record["op_code"] == 7 for record in records) == sum(len(t.reports) for t in history.trials)


def test_a_journal_tells_which_worker_was_busy_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 1010.0, 1020.5, 1060.0, 1070.0])
    monkeypatch.setattr("raysearch.history.journal.time.time", lambda: next(clock))
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append([lines.study_record("toy", "max", 1), lines.start_record({}, {}, {"x": 0.5}, False)])
        for iteration, seconds, worker in ((1, 8.0, "a:1"), (2, 10.0, "a:1"), (3, 5.0, "a:1"), (4, 6.0, "b:2")):
            report = lines.Report(iteration, 0.5, {}, None, seconds, False)
            journal.append([lines.report_record(0, report, None, None, worker)])
    legs = read_history(path).trials[0].legs
    assert [(leg.worker, leg.begin, leg.end) for leg in legs] == [
        ("a:1", 1002.0, 1020.5),
        ("a:1", 1055.0, 1060.0),
        ("b:2", 1064.0, 1070.0),
    ]
