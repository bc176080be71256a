"""Tests of optuna-dashboard on a run, over HTTP."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage

from raysearch.errors import InputError
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.observers.dashboard import REFUSED, DashboardServer, ReadOnlyJournal, dashboard_server
from raysearch.search.search import Search
from tests.raysearch.toy import run_trial, toy_spec


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[DashboardServer, Search]]:
    """Provide a running search after three trials."""
    run_dir = RunDir.create("toy", tmp_path / "run")
    with Journal(run_dir.journal) as journal:
        search = Search(toy_spec(tmp_path), journal)
        for _ in range(3):
            run_one(search)
        server = dashboard_server(run_dir, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, search
        server.shutdown()
        server.server_close()


def run_one(search: Search) -> None:
    proposal = search.propose()
    assert proposal is not None
    run_trial(search, proposal)


def ask(server: DashboardServer, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{server.url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_shows_a_search_that_goes_on(served: tuple[DashboardServer, Search]) -> None:
    server, search = served
    _, studies = ask(server, "/api/studies")
    assert [(study["study_id"], study["study_name"]) for study in studies["study_summaries"]] == [(0, "toy")]
    for _ in range(2):
        run_one(search)
    _, study = ask(server, "/api/studies/0")
    assert len(study["trials"]) == 5
    for shown, trial in zip(study["trials"], search.history.trials, strict=True):
        best = trial.best("max")
        assert best is not None
        assert shown["number"] == trial.number
        assert shown["state"] == {"completed": "Complete", "stopped": "Pruned", "infeasible": "Pruned"}[trial.status]
        assert [(i["step"], i["value"]) for i in shown["intermediate_values"]] == [
            (iteration, report.value) for iteration, report in sorted(trial.reports.items())
        ]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/studies/0", {}),
        ("POST", "/api/studies", {"study_name": "another", "directions": ["maximize"]}),
        ("POST", "/api/studies/0/rename", {"study_name": "another"}),
        ("PUT", "/api/studies/0/note", {"body": "a note", "version": 1}),
        ("POST", "/api/trials/0/tell", {"state": "Fail"}),
        ("POST", "/api/trials/0/user-attrs", {"user_attrs": {"a": 1}}),
    ],
)
def test_it_changes_nothing(
    served: tuple[DashboardServer, Search], tmp_path: Path, method: str, path: str, body: Any
) -> None:
    server, _ = served
    journal = tmp_path / "run" / "study.journal"
    before, files = journal.read_bytes(), sorted((tmp_path / "run").iterdir())
    assert ask(server, path, method, body) == (403, {"reason": REFUSED})
    assert journal.read_bytes() == before
    assert sorted((tmp_path / "run").iterdir()) == files, "no lock file either"


def test_its_storage_refuses_to_write_by_itself(served: tuple[DashboardServer, Search], tmp_path: Path) -> None:
    journal = tmp_path / "run" / "study.journal"
    before = journal.read_bytes()
    study = optuna.load_study(study_name="toy", storage=JournalStorage(ReadOnlyJournal(str(journal))))
    for write in (study.ask, lambda: study.set_user_attr("a", 1), lambda: study.enqueue_trial({"x": 0.5})):
        with pytest.raises(PermissionError, match="is read-only"):
            write()
    with pytest.raises(PermissionError, match="is read-only"):
        optuna.delete_study(study_name="toy", storage=study._storage)
    assert journal.read_bytes() == before


def test_a_port_that_is_taken(served: tuple[DashboardServer, Search], tmp_path: Path) -> None:
    server, _ = served
    with pytest.raises(InputError, match=f"--port {server.server_port}: cannot be used"):
        dashboard_server(RunDir.open(tmp_path / "run"), server.server_port)


def test_it_is_served_to_this_machine_alone(served: tuple[DashboardServer, Search]) -> None:
    server, _ = served
    assert server.url.startswith("http://127.0.0.1:")
    assert server.socket.getsockname()[0] == "127.0.0.1"
