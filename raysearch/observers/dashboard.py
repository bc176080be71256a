"""optuna-dashboard on the journal of a run: a live, read-only view of the study in a browser."""

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

REFUSED = "this dashboard is read-only: only `raysearch run` and `raysearch resume` change a study"

_WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ReadOnlyJournal(JournalFileBackend):
    """The journal of a run as a backend of Optuna's `JournalStorage`, read-only because a search may be writing it."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse to write: a line from outside would become part of the search.

        Raises:
            PermissionError: always.
        """
        raise PermissionError(REFUSED)


class DashboardServer(ThreadingMixIn, WSGIServer):
    """Server of the study of one run, for this machine only. Call `serve_forever` until it is shut down."""

    daemon_threads = True

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://{HOST}:{self.server_port}"


def dashboard_server(run_dir: RunDir, port: int | None = None) -> DashboardServer:
    """Create a server of optuna-dashboard for a run, which may still be in progress.

    Args:
        run_dir: The run.
        port: 0 for any free port; None for `PORT`, or any free port if that is taken.

    Raises:
        InputError: the port is taken, or not allowed.
    """
    from optuna_dashboard import wsgi  # imported late: it takes a second

    app = _looking_only(wsgi(JournalStorage(ReadOnlyJournal(str(run_dir.journal)))))
    for candidate in (PORT, 0) if port is None else (port,):
        try:
            return make_server(HOST, candidate, app, server_class=DashboardServer, handler_class=_Quiet)
        except OSError as error:
            why = error.strerror
    raise InputError([Fault(f"--port {port}", f"cannot be used: {why}", "give another port, or leave --port out")])


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the page sends a request every few seconds."""


def _looking_only(app: _WsgiApp) -> _WsgiApp:
    """Return the application, restricted to requests that change nothing."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"reason": REFUSED}).encode()]

    return guarded
