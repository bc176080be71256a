"""Tests of the view in a notebook without a kernel; `tests/raysearch/test_python.py` looks at a real notebook."""

from pathlib import Path
from typing import Any

import pytest

from raysearch.history.run_dir import RunDir
from raysearch.observers.notebook_view import NotebookView, is_notebook
from raysearch.search.run import Run
from tests.raysearch.observers.test_progress import by_hand


def test_one_output_of_the_cell_is_kept_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("IPython")
    shown: list[tuple[str, dict[str, str], str]] = []
    for kind in ("display", "update_display"):

        def record(block: dict[str, str], *, raw: bool, display_id: str, kind: str = kind, **_: Any) -> None:
            assert raw
            shown.append((kind, block, display_id))

        monkeypatch.setattr(f"IPython.display.{kind}", record)
    spec, history = by_hand(tmp_path)
    view = NotebookView()
    view.begin(Run(RunDir(tmp_path), spec, history))
    view.say("a line")
    view.rest()
    assert [kind for kind, _, _ in shown] == ["display", "update_display"]
    assert len({display_id for _, _, display_id in shown}) == 1
    for _, block, _ in shown:
        assert "4 of 9 trials" in block["text/plain"]
        assert block["text/html"].startswith("<pre")
    assert capsys.readouterr().out == "a line\n"
    assert not is_notebook()
