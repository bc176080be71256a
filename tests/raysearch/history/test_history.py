from pathlib import Path

import pytest

from raysearch.history import records as codec
from raysearch.history.events import Report
from raysearch.history.history import read_history
from raysearch.history.journal import Journal


def test_a_journal_tells_which_worker_was_busy_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 1010.0, 1020.5, 1060.0, 1070.0])
    monkeypatch.setattr("raysearch.history.records.time.time", lambda: next(clock))
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append([codec.study_record("toy", "max", 1), codec.start_record({}, {}, {"x": 0.5}, False)])
        for iteration, seconds, worker in ((1, 8.0, "a:1"), (2, 10.0, "a:1"), (3, 5.0, "a:1"), (4, 6.0, "b:2")):
            report = Report(iteration, 0.5, {}, None, seconds, False)
            journal.append([codec.report_record(0, report, None, None, worker)])
    legs = read_history(path).trials[0].legs
    assert [(leg.worker, leg.begin, leg.end) for leg in legs] == [
        ("a:1", 1002.0, 1020.5),
        ("a:1", 1055.0, 1060.0),
        ("b:2", 1064.0, 1070.0),
    ]
