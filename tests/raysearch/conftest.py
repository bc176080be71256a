import signal
import sys
from pathlib import Path

import pytest

from raysearch.commands import cli
from tests.raysearch.command import Command, Ended


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Provide a function that runs `raysearch ...` as a shell would, but in this process."""
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)

    def run(*words: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["raysearch", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code, (out, err) = ended.value.code, capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(code if isinstance(code, int) else 0, out, err)

    return run
