"""Connection to Ray: a local Ray of the search's own, or the cluster at a given address."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading

import ray
from ray._common.network_utils import parse_address
from ray._common.utils import get_default_ray_temp_dir, get_default_system_temp_dir
from ray._private import services
from ray._private.authentication import authentication_token_setup as tokens
from ray._raylet import GcsClient  # type: ignore[attr-defined]

from raysearch.errors import Fault, InputError, WorkError
from raysearch.execution.chatter import log_workers
from raysearch.execution.machine import room
from raysearch.space.settings import ResourceSettings

ANSWER_TIMEOUT_S = 30.0
"""Seconds in which a cluster must answer; a healthy one takes less than one, and Python takes a few to start."""

_LISTEN_TIMEOUT_S = 10.0
"""Seconds in which the machine of a cluster must accept a connection."""

_SOCKET = f"session_2026-01-31_23-59-59_999999_{os.getpid()}/sockets/plasma_store"
"""Longest path of a Unix socket that Ray creates below its folder for temporary files."""

_MAX_SOCKET_BYTES = 107
"""Largest number of bytes in the path of a Unix socket on Linux."""

_REFUSED = "refused"
"""First word that the asking process prints if the cluster rejects its token."""

_TOKEN_FIX = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token or RAY_AUTH_TOKEN_PATH to a file that holds it "
    "(on a machine of the cluster, `ray get-auth-token` prints it)"
)


class Cluster:
    """A connection to Ray, as a context manager; an existing connection of this process is kept."""

    dashboard: str
    """Description of where Ray's dashboard is."""
    concurrent: int
    """Number of trials that run at the same time."""
    share: float
    """Fraction of a machine's memory that one trial may use."""

    def __init__(self, address: str | None, resources: ResourceSettings) -> None:
        """Connect to the cluster at `address`, or start a Ray on this machine if it is None.

        RAY_ADDRESS and a Ray that somebody else started on this machine are ignored in that case.

        Raises:
            InputError: the address does not answer, the cluster requires a token, no machine has the resources of a
                trial, or TMPDIR is too long for Ray.
            WorkError: Ray cannot start on this machine.
        """
        self._ours = not ray.is_initialized()
        if self._ours:
            _start_local() if address is None or address == "local" else _join(address)
            log_workers()
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            machines = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
            self.concurrent, self.share = room(resources, machines)
        except InputError:
            self.close()
            raise
        url = ray._private.worker.get_dashboard_url()
        self.dashboard = f"http://{url} (while the search runs)" if url else "none (Ray was started without one)"

    def close(self) -> None:
        """Disconnect, and shut Ray down if this process started it; closing twice has no further effect."""
        if self._ours:
            self._ours = False
            ray.shutdown()


def _start_local() -> None:
    folder = get_default_ray_temp_dir()
    length = len(os.fsencode(os.path.join(folder, _SOCKET)))
    if length > _MAX_SOCKET_BYTES:
        name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
        what = (
            f"Ray puts sockets into it, whose paths would have {length} bytes, but only {_MAX_SOCKET_BYTES} are allowed"
        )
        fix = "give a shorter folder, such as RAY_TMPDIR=/tmp"
        raise InputError([Fault(f"{name}={get_default_system_temp_dir()}", what, fix)])
    try:
        _init("local")
    except Exception as error:
        raise WorkError(f"Ray cannot start on this machine: {_one_line(error)}") from error


def _join(address: str) -> None:
    where = f"--address {address}"
    given = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address  # as Ray resolves it
    if "://" in given:
        what = f"{given} is an address of Ray Client or of its job server, through which a search cannot run"
        raise InputError([Fault(where, what, "on a machine of the cluster, give HOST:PORT, such as HEAD:6379")])
    try:
        host_and_port = services.canonicalize_bootstrap_address(given)
        assert host_and_port is not None, "it is neither absent nor local"
        host, port = parse_address(host_and_port)
        if not host or not 0 < int(port) < 65536:
            raise ValueError(host_and_port)
        socket.create_connection((host, int(port)), _LISTEN_TIMEOUT_S).close()
    except ValueError:
        fix = "give HOST:PORT, such as HEAD:6379, or auto"
        raise InputError([Fault(where, "is not the address of a Ray cluster", fix)]) from None
    except OSError as error:  # includes Ray's ConnectionError without a Ray for `auto`
        fix = "start one by `ray start --head --port=6379` and give HOST:6379, or leave --address out for a local Ray"
        reason = "no Ray cluster runs on this machine" if address == given == "auto" else _one_line(error)
        raise InputError([Fault(where, f"no Ray cluster can be reached ({reason})", fix)]) from None
    _check_answer(given, where)
    try:
        _init(address)
    except Exception as error:
        reason = " ".join(_one_line(one) for one in (error, error.__cause__) if one is not None)
        raise InputError(
            [Fault(where, f"the cluster cannot be joined: {reason}", "see docs/how-to/cluster.md")]
        ) from error


def _check_answer(address: str, where: str) -> None:
    """Ask the cluster for its name in a separate process, because Ray's client may wait for minutes or exit.

    Raises:
        InputError: no Ray cluster answers, or it rejects our token.
    """
    command = [sys.executable, "-m", "raysearch.execution.cluster", address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        what = f"something listens there, but did not answer as a Ray cluster within {ANSWER_TIMEOUT_S:.0f} s"
        raise InputError([Fault(where, what, "check host and port (of Ray's GCS, 6379 by default)")]) from None
    if asked.stdout.startswith(_REFUSED):
        given = tokens.AUTH_MODE_ENV_VAR in os.environ
        what = "the cluster does not accept the given token" if given else "the cluster asks for a token"
        raise InputError([Fault(where, what, _TOKEN_FIX)])
    if asked.returncode != 0:
        lines = (asked.stdout or asked.stderr).strip().splitlines() or [f"exit code {asked.returncode}"]
        raise InputError([Fault(where, f"no Ray cluster answers there ({lines[-1]})", "check host and port")])


def _ask(address: str) -> None:
    """Ask a cluster for its name, and print the reason if that fails."""
    try:
        if address == "auto":
            tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        tokens.ensure_token_if_auth_enabled(create_token_if_missing=False)
        GcsClient(address=services.canonicalize_bootstrap_address(address))
    except ray.exceptions.AuthenticationError:
        print(_REFUSED)
        sys.exit(1)
    except Exception as error:
        print(_one_line(error))
        sys.exit(1)


def _init(address: str) -> None:
    """Connect to Ray, and restore the SIGTERM handler, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            include_dashboard=True if address == "local" else None,
            dashboard_host="127.0.0.1",
            log_to_driver=True,
            logging_level=logging.ERROR,
        )
    except BaseException:
        ray.shutdown()
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


if __name__ == "__main__":
    _ask(sys.argv[1])
