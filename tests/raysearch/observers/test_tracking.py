"""Tests of the delivery to a tracker in memory, which fails on demand."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from raysearch.errors import InputError
from raysearch.history.history import History, TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.observers.tracker import Arrived, Point
from tests.raysearch.observers.deliveries import search_on
from tests.raysearch.toy import toy_spec


class InMemory:
    """A tracker that keeps what it receives; `failing` decides for every call whether it fails."""

    name: ClassVar[str] = "memory"

    def __init__(self, failing: Callable[[int], bool] = lambda call: False) -> None:
        self.points: dict[int, list[tuple[int, float]]] = {}
        self.statuses: dict[int, str] = {}
        self.finished: list[tuple[float | None, bool]] = []
        self._failing, self._num_calls = failing, 0

    def _call(self) -> None:
        self._num_calls += 1
        if self._failing(self._num_calls):
            raise ConnectionError("it is away")

    def connect(self) -> Mapping[int, Arrived]:
        self._call()
        return {
            number: Arrived(points[-1][0] if points else 0, self.statuses.get(number, "running") != "running")
            for number, points in self.points.items()
        }

    def deliver(self, trial: TrialHistory, points: Sequence[Point], *, is_over: bool) -> None:
        for point in points:
            self._call()
            self.points.setdefault(trial.number, []).append((point.iteration, point.numbers["score"]))
        self._call()
        self.points.setdefault(trial.number, [])
        if is_over:
            self.statuses[trial.number] = trial.status

    def finish(self, best_config: Path | None, best: float | None, *, is_over: bool) -> None:
        self._call()
        self.finished.append((best, is_over))


def holds_all(tracker: InMemory, history: History) -> bool:
    reports = {t.number: [(i, r.value) for i, r in sorted(t.reports.items())] for t in history.trials}
    return tracker.points == reports and tracker.statuses == {t.number: t.status for t in history.trials}


def test_every_report_and_ending_arrives_once(tmp_path: Path, run_dir: RunDir) -> None:
    said: list[str] = []
    tracker = InMemory()
    history = search_on(run_dir, toy_spec(tmp_path), tracker, said.append)
    assert holds_all(tracker, history)
    best = history.best_trial()
    assert best is not None
    assert tracker.finished == [(max(r.value for r in best.reports.values()), True)]
    assert said == []


def test_a_tracker_that_fails_now_and_then_gets_everything_once(
    tmp_path: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.observers.tracking._LAST_TRIES", 1000)  # all of it may be left to the end
    said: list[str] = []
    tracker = InMemory(lambda call: call % 7 == 3)
    history = search_on(run_dir, toy_spec(tmp_path), tracker, said.append)
    assert holds_all(tracker, history)
    assert len(said) <= 1


def test_what_did_not_arrive_is_said_and_delivered_by_the_next_run(tmp_path: Path, run_dir: RunDir) -> None:
    said: list[str] = []
    spec = toy_spec(tmp_path)
    away = InMemory(lambda call: True)
    search_on(run_dir, spec, away, said.append)
    assert away.points == {}
    assert said[-1] == (
        "note: memory: 24 of 24 trials are not completely uploaded (it is away); "
        f"`raysearch resume {run_dir.root}` uploads the rest"
    )
    assert all(line.startswith("note: memory: it is away; the search continues") for line in said[:-1])
    back = InMemory()
    history = search_on(run_dir, spec, back, said.append)
    assert holds_all(back, history)


def test_an_interrupted_search_goes_on_where_the_tracker_stands(tmp_path: Path, run_dir: RunDir) -> None:
    spec, tracker = toy_spec(tmp_path), InMemory()
    for num_reports in (5, 1, 30):
        search_on(run_dir, spec, tracker, print, num_reports)
    history = search_on(run_dir, spec, tracker, print)
    assert holds_all(tracker, history)
    assert [is_over for _, is_over in tracker.finished] == [False, False, False, True]


def test_a_tracker_that_hangs_holds_nothing_up(
    tmp_path: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.observers.tracking._MAX_WAIT_S", 0.2)
    released, said = threading.Event(), list[str]()

    class Hanging(InMemory):
        def connect(self) -> Mapping[int, Arrived]:
            released.wait()  # without an end, as the search must not wait for it
            return {}

    history = search_on(run_dir, toy_spec(tmp_path), Hanging(), said.append)
    assert {t.status for t in history.trials} >= {"completed", "stopped"}
    assert "24 of 24 trials are not completely uploaded" in said[-1]
    released.set()


@pytest.mark.parametrize(
    ("track", "fault"),
    [
        ({"mlflow": "localhost:5000"}, "track.mlflow: 'localhost:5000' is not an address"),
        ({"mlflow": "https://me:secret@host"}, "track.mlflow: holds a user name or a password"),
        ({"wandb": "sometimes"}, "track.wandb"),
        ({"neptune": "x"}, "track.neptune"),
    ],
)
def test_faults_of_the_section(tmp_path: Path, track: dict[str, str], fault: str) -> None:
    with pytest.raises(InputError) as caught:
        toy_spec(tmp_path, track=track)
    assert fault in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_library_that_is_missing_is_a_fault_with_its_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.space.track_settings.find_spec", lambda library: None)
    with pytest.raises(InputError) as caught:
        toy_spec(tmp_path, track={"mlflow": "http://127.0.0.1:5000", "wandb": "offline"})
    text = str(caught.value)
    assert "track.mlflow: mlflow is not installed; pip install 'raysearch[mlflow]'" in text
    assert "track.wandb: wandb is not installed; pip install 'raysearch[wandb]'" in text
