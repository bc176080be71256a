from pathlib import Path

import pytest

from raysearch.history.run_dir import RunDir


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir.create("toy", tmp_path / "run")


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.observers.tracking._RETRY_S", (0.001, 0.01))
    monkeypatch.setattr("raysearch.observers.tracking._MAX_WAIT_S", 200.0)
