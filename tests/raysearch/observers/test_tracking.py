"""Tests of the delivery to trackers: one in memory that fails on demand, a real MLflow, and real files of W&B."""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest

from raysearch.errors import InputError
from raysearch.history.history import History, TrialHistory
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.observers.mlflow_tracker import MlflowTracker
from raysearch.observers.tracker import Arrived, Point, Tracker
from raysearch.observers.tracking import Delivery
from raysearch.observers.wandb_tracker import WandbTracker
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import run_trial, toy_spec

needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="needs mlflow")


class Stop(BaseException):
    pass


def search_on(
    run_dir: RunDir, spec: SearchSpec, tracker: Tracker, say: Callable[[str], None], num_reports: int = 1000
) -> History:
    """Run or resume a search until `num_reports` reports, and deliver it."""
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        delivery = Delivery(tracker, say)
        delivery.begin(Run(run_dir, spec, search.history))
        search.take_changed()
        made: list[None] = []

        def look() -> None:
            delivery.update(search.take_changed())
            made.append(None)
            if len(made) == num_reports:
                raise Stop

        try:
            while (proposal := search.propose()) is not None:
                run_trial(search, proposal, after_report=look)
            delivery.update(search.take_changed())
            run_dir.best_config.write_text("{}\n")
        except Stop:
            pass
        finally:
            delivery.end()
        return search.history


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


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir.create("toy", tmp_path / "run")


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.observers.tracking._RETRY_S", (0.001, 0.01))
    monkeypatch.setattr("raysearch.observers.tracking._MAX_WAIT_S", 200.0)


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
        ({"wandb": "sometimes"}, "track.wandb"),
        ({"neptune": "x"}, "track.neptune"),
    ],
)
def test_faults_of_the_section(tmp_path: Path, track: dict[str, str], fault: str) -> None:
    with pytest.raises(InputError) as caught:
        toy_spec(tmp_path, track=track)
    assert fault in str(caught.value)


def test_a_library_that_is_missing_is_a_fault_with_its_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.space.track_settings.find_spec", lambda library: None)
    with pytest.raises(InputError) as caught:
        toy_spec(tmp_path, track={"mlflow": "http://127.0.0.1:5000", "wandb": "offline"})
    text = str(caught.value)
    assert "track.mlflow: mlflow is not installed; pip install 'raysearch[mlflow]'" in text
    assert "track.wandb: wandb is not installed; pip install 'raysearch[wandb]'" in text


@pytest.fixture(scope="module")
def mlflow_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Provide a server of MLflow with a database of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, *stores], stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 600
        while not _answers(f"{address}/health"):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, "MLflow does not start"
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(600)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@needs_mlflow
def test_mlflow_has_a_run_for_every_trial(tmp_path: Path, run_dir: RunDir, mlflow_address: str) -> None:
    """The search is interrupted once, and one delivery is cut off after its request has arrived."""
    from mlflow import MlflowClient

    spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 4, "seed": 3}, track={"mlflow": mlflow_address})

    class CutOff(MlflowTracker):
        def deliver(self, trial: TrialHistory, points: Sequence[Point], *, is_over: bool) -> None:
            super().deliver(trial, points, is_over=is_over)
            if trial.number == 1:
                raise ConnectionError("the answer is lost")

    for tracker, num_reports in ((CutOff, 12), (MlflowTracker, 7), (MlflowTracker, 1000)):
        history = search_on(run_dir, spec, tracker(mlflow_address, spec, run_dir), print, num_reports)
    client = MlflowClient(tracking_uri=mlflow_address)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    below = {int(run.data.tags["raysearch.trial"]): run for run in runs if run is not parent}
    assert sorted(below) == list(range(4))
    assert len(runs) == 5, "no run twice"
    for trial in history.trials:
        run = below[trial.number]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.run_name == f"trial {trial.number}"
        assert run.data.params == {path: str(value) for path, value in trial.values.items()}
        assert run.data.tags["raysearch.status"] == trial.status
        assert run.info.status == ("FAILED" if trial.status == "infeasible" else "FINISHED")
        for metric in ("score", "loss", "cost"):
            logged = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric)]
            reports = sorted(trial.reports.items())
            expected = [(i, r.value if metric == "score" else r.metrics[metric]) for i, r in reports]
            assert sorted(logged) == expected
    assert parent.info.status == "FINISHED"
    best = history.best_trial()
    assert best is not None
    assert parent.data.metrics["best_score"] == max(r.value for r in best.reports.values())
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["best_config.json"]


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a W&B file: LevelDB's log format, 32-KiB blocks of (crc, length, type, data) from byte 7."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, pieces = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        pieces += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last piece
            yield Record.FromString(pieces)
            pieces = b""


def whole(file: Path) -> list[Any]:
    """Return the records including the last one, which W&B writes a moment after a run has finished."""
    end = time.monotonic() + 600
    while not (read := list(records(file))) or not read[-1].HasField("exit"):
        assert time.monotonic() < end, f"{file} does not end"
        time.sleep(0.1)
    return read


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs wandb")
def test_wandb_offline_has_a_run_for_every_trial(tmp_path: Path, run_dir: RunDir) -> None:
    """After an interruption, the run of the unfinished trial starts again under its id, without its first half."""
    spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 3, "seed": 3}, track={"wandb": "offline"})
    for num_reports in (11, 1000):
        history = search_on(run_dir, spec, WandbTracker("offline", spec, run_dir), print, num_reports)
    found: dict[str, list[Any]] = {}
    for file in (run_dir.root / "wandb").glob("offline-run-*/*.wandb"):
        read = whole(file)
        (run,) = [record.run for record in read if record.HasField("run")]
        assert run.run_id.rpartition("-")[2] not in found, "no id twice"
        assert (run.project, run.run_group) == ("toy", "run")
        found[run.run_id.rpartition("-")[2]] = read
    assert sorted(found) == ["00000", "00001", "00002", "search"]
    for trial in history.trials:
        read = found[f"{trial.number:05d}"]
        rows = [
            {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for record in read
            if record.HasField("history")
        ]
        assert [(row["_step"], row["score"], row["loss"]) for row in rows] == [
            (i, r.value, r.metrics["loss"]) for i, r in sorted(trial.reports.items())
        ]
        (run,) = [record.run for record in read if record.HasField("run")]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert {path: config[path] for path in trial.values} == trial.values
        assert [record.exit.exit_code for record in read if record.HasField("exit")] == [
            1 if trial.status == "infeasible" else 0
        ]
