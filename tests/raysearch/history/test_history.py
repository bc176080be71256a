from pathlib import Path

import pytest

from raysearch.history.events import Begun, Report, Started
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.history.records import lines_of


def test_a_journal_tells_which_worker_was_busy_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 1010.0, 1020.5, 1060.0, 1070.0])
    monkeypatch.setattr("raysearch.history.records.time.time", lambda: next(clock))
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append([*lines_of(Begun("toy", "max", 1)), *lines_of(Started({}, {}, {"x": 0.5}, False))])
        for iteration, seconds, worker in ((1, 8.0, "a:1"), (2, 10.0, "a:1"), (3, 5.0, "a:1"), (4, 6.0, "b:2")):
            report = Report(iteration, 0.5, {}, None, seconds, False, worker=worker)
            journal.append(lines_of(report, 0))
    legs = read_history(path).trials[0].legs
    assert [(leg.worker, leg.begin, leg.end) for leg in legs] == [
        ("a:1", 1002.0, 1020.5),
        ("a:1", 1055.0, 1060.0),
        ("b:2", 1064.0, 1070.0),
    ]
