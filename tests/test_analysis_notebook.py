"""Tests of the notebook in the documentation, run on folders of small searches."""

import os
import re
from pathlib import Path

import pytest

from raysearch.history.run_dir import RunDir
from raysearch.runs.outcome import write_outcome
from raysearch.search.run import Run
from tests.raysearch.toy import run_search, toy_spec

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).parents[1] / "docs" / "analysis.ipynb"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr("raysearch.results.importances._NUM_DRAWS", 2)
    folders = []
    for name, seed in (("first", 1), ("second", 2)):
        run_dir = RunDir.create("toy", tmp_path / name)
        spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 12, "seed": seed})
        run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
        write_outcome(Run(run_dir, spec, run_search(spec, run_dir.journal)))
        folders.append(run_dir.root)
    return folders


def test_the_notebook_runs_on_any_runs(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSEARCH_RUNS", os.pathsep.join(map(str, runs)))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    told = "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "['first', 'second']" in told
    assert "12 trials, " in told
    assert "fanova" in told


def test_the_notebook_is_kept_with_its_outputs_and_no_paths() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) - 1, "only what a run has not may stay silent"
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
