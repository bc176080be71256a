"""Tests of which Ray a search uses and of the messages without one; no Ray is started."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from raysearch.errors import InputError, WorkError
from raysearch.execution import cluster
from raysearch.runs import driver
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Provide the arguments with which Ray would be started."""
    calls: list[dict[str, Any]] = []

    def init(**words: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        calls.append(words)
        raise OSError("no Ray in this test")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return calls


@pytest.fixture
def silent() -> Iterator[int]:
    """Provide a port that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        yield listening.getsockname()[1]


def spec() -> SearchSpec:
    document = {
        "name": "test",
        "trainable": "trials.py:Curve",
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 2},
        "scheduler": {"name": "none", "max_iters": 4},
    }
    return parse_space(document, Path(__file__).parents[1])


def refused(out: Path, address: str) -> str:
    with pytest.raises(InputError) as caught:
        driver.run(spec(), out, address=address, say=lambda line: None)
    assert not out.exists(), "the corrected command finds no folder in its way"
    (fault,) = caught.value.faults
    assert "\n" not in str(fault)
    return str(fault)


def test_without_an_address_ray_is_our_own_whatever_the_environment_says(
    tmp_path: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(WorkError, match="Ray cannot start on this machine: OSError: no Ray in this test"):
        driver.run(spec(), tmp_path / "run", say=lambda line: None)
    assert [call["address"] for call in started] == ["local"]
    assert not (tmp_path / "run").exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("address", ["garbage", "", "a:b:c", "head:port", ":6379", "127.0.0.1:99999"])
def test_what_is_no_address(tmp_path: Path, started: list[dict[str, Any]], address: str) -> None:
    said = refused(tmp_path / "run", address)
    assert (
        said == f"--address {address}: is not the address of a Ray cluster; give HOST:PORT, such as HEAD:6379, or auto"
    )
    assert not started


def test_an_address_of_ray_client(
    tmp_path: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(tmp_path / "run", "ray://127.0.0.1:10001")
    assert "ray://127.0.0.1:10001 is an address of Ray Client" in said
    assert "give HOST:PORT" in said
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert "--address auto: ray://head:10001 is an address of Ray Client" in refused(tmp_path / "run", "auto")
    assert not started


def test_nothing_listens(tmp_path: Path, started: list[dict[str, Any]]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        said = refused(tmp_path / "run", address)
    assert said.startswith(f"--address {address}: no Ray cluster can be reached (ConnectionRefusedError")
    assert "leave --address out" in said
    assert "gaierror" in refused(tmp_path / "run", "nowhere.invalid:6379")
    assert not started


def test_nothing_answers(
    tmp_path: Path, started: list[dict[str, Any]], silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_TIMEOUT_S", 2.0)
    said = refused(tmp_path / "run", f"127.0.0.1:{silent}")
    assert "did not answer as a Ray cluster within 2 s" in said
    assert not started


@pytest.mark.parametrize(
    ("mode", "what"), [(None, "the cluster asks for a token"), ("token", "the cluster does not accept the given token")]
)
def test_a_token_is_asked_for(
    tmp_path: Path, silent: int, monkeypatch: pytest.MonkeyPatch, mode: str | None, what: str
) -> None:
    def asked(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess([], 1, stdout="refused\n", stderr="")

    monkeypatch.setattr(subprocess, "run", asked)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    said = refused(tmp_path / "run", f"127.0.0.1:{silent}")
    assert what in said
    assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token or RAY_AUTH_TOKEN_PATH" in said


def test_a_token_that_is_missing_is_told_without_a_cluster(
    tmp_path: Path, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own client would end the process."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    said = refused(tmp_path / "run", f"127.0.0.1:{silent}")
    assert "token" in said
    assert "RAY_AUTH_TOKEN_PATH" in said


def test_a_tmpdir_too_long_for_sockets(
    tmp_path: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 107 - len("/ray/") - len(cluster._SOCKET)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "x" * longest)
    with pytest.raises(InputError) as caught:
        driver.run(spec(), tmp_path / "run", say=lambda line: None)
    (fault,) = caught.value.faults
    assert fault.where == f"TMPDIR=/{'x' * longest}"
    assert "whose paths would have 108 bytes, but only 107 are allowed" in fault.what
    assert "RAY_TMPDIR=/tmp" in fault.fix
    assert not started
    assert not os.path.exists("/" + "x" * longest)
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("TMPDIR", "/" + "x" * (longest - 1))
    with pytest.raises(WorkError, match="no Ray in this test"):
        driver.run(spec(), tmp_path / "run", say=lambda line: None)
