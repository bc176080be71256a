"""Tests of the delivery to a real MLflow."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from raysearch.history.history import TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.observers.mlflow_tracker import MlflowTracker
from raysearch.observers.tracker import Point
from tests.raysearch.observers.deliveries import search_on
from tests.raysearch.toy import toy_spec


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


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs mlflow")
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
