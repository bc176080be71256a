"""optuna-dashboard on the journal of a run: the live study in a browser, which cannot change it."""

import json
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raysearch.errors import Fault, InputError
from raysearch.history.run_dir import RunDir

HOST = "127.0.0.1"
PORT = 8080

REFUSED = "this dashboard only looks on: a study is changed by `raysearch run` and `raysearch resume` alone"

_WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ReadOnlyJournal(JournalFileBackend):
    """The journal of a run for Optuna's `JournalStorage`, to look at while a search may be writing it."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuses: a line from outside would become part of the search.

        Raises:
            PermissionError: always.
        """
        raise PermissionError(REFUSED)


class DashboardServer(ThreadingMixIn, WSGIServer):
    """Serves the study of one run to this machine; `serve_forever` until it is shut down."""

    daemon_threads = True

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.server_port}"


def dashboard_server(run_dir: RunDir, port: int | None = None) -> DashboardServer:
    """A server of optuna-dashboard for a run, which may be going on.

    Args:
        run_dir: The run.
        port: 0 for any; absent: `PORT`, or any where that is taken.

    Raises:
        InputError: the port is taken, or not allowed.
    """
    from optuna_dashboard import wsgi  # late: it takes a second

    app = _looking_only(wsgi(JournalStorage(ReadOnlyJournal(str(run_dir.journal)))))
    for candidate in (PORT, 0) if port is None else (port,):
        try:
            return make_server(HOST, candidate, app, server_class=DashboardServer, handler_class=_Quiet)
        except OSError as error:
            why = error.strerror
    raise InputError([Fault(f"--port {port}", f"cannot be served on: {why}", "give another port, or none")])


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the page asks for news every few seconds."""


def _looking_only(app: _WsgiApp) -> _WsgiApp:
    """The application without any request that is meant to change something."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"reason": REFUSED}).encode()]

    return guarded
