import logging
import warnings
from pathlib import Path

import pytest

from raysearch.execution.chatter import capture_warnings, logging_to


def test_warnings_of_libraries_go_to_the_log_and_never_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "_warnings_showwarning", None)  # as in a new process
    monkeypatch.setattr(logging.getLogger("py.warnings"), "disabled", True)  # as by `logging.config.fileConfig`
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        capture_warnings()
        warnings.warn("before the search", UserWarning, stacklevel=1)
        with logging_to(tmp_path / "log"):
            warnings.warn("in the search", UserWarning, stacklevel=1)
    assert capfd.readouterr() == ("", "")
    log = (tmp_path / "log").read_text()
    assert "UserWarning: in the search" in log
    assert "before the search" not in log
