"""Tests of the scheduler's reaction to events from Tune, without Ray."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from raysearch.execution.trial_actor import EVENT
from raysearch.execution.tune_executor import _Events
from raysearch.history.events import Ended, Halted, Report
from raysearch.history.journal import Journal
from raysearch.search.loop import SearchHalted
from raysearch.search.search import Search
from tests.raysearch.toy import PROMOTION, toy_loop, toy_spec


def test_what_tune_says_of_a_leg_that_was_told_to_stop_changes_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path, scheduler=PROMOTION), journal)
        for _ in range(2):
            search.propose()
        scheduler = _Events(toy_loop(search))
        leg = SimpleNamespace(trial_id="a", config={"number": 1}, pickled_error_file="/nowhere")
        result = {EVENT: Report(2, 0.5, {}, "c2", 0.0, False)}
        assert scheduler.on_trial_result(None, leg, result) == "STOP"
        assert search.history.trials[1].is_paused
        written = (tmp_path / "study.journal").read_bytes()
        scheduler.on_trial_complete(None, leg, result)
        scheduler.on_trial_error(None, leg)
        assert (tmp_path / "study.journal").read_bytes() == written


def test_a_halt_stops_the_search_and_leaves_the_trial_to_be_taken_up(tmp_path: Path) -> None:
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path), journal)
        search.propose()
        written = (tmp_path / "study.journal").read_bytes()
        leg = SimpleNamespace(trial_id="a", config={"number": 0})
        ended = {EVENT: Halted("the disk is full", "free some disk space")}
        with pytest.raises(SearchHalted, match="the disk is full"):
            _Events(toy_loop(search)).on_trial_complete(None, leg, ended)
        assert (tmp_path / "study.journal").read_bytes() == written
        assert search.history.trials[0].status == "running"


@pytest.mark.parametrize("event", [Report(2, 0.5, {}, "c2", 0.0, False), Ended("completed"), None])
def test_a_journal_that_cannot_be_written_stops_the_search_whatever_came(
    tmp_path: Path, event: Report | Ended | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event may also be a lost worker, for which Tune only reports an error."""
    error_file = tmp_path / "error.pkl"
    error_file.write_bytes(pickle.dumps(RuntimeError("the worker died")))
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path), journal)
        search.propose()
        scheduler = _Events(toy_loop(search))
        leg = SimpleNamespace(trial_id="a", config={"number": 0}, pickled_error_file=str(error_file))
        monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left")))
        if event is None:
            with pytest.raises(SearchHalted, match="the journal cannot be written: No space left"):
                scheduler.on_trial_error(None, leg)
        else:
            with pytest.raises(SearchHalted, match="the journal cannot be written: No space left"):
                scheduler.on_trial_result(None, leg, {EVENT: event})
        monkeypatch.undo()
