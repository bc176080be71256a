"""Tests that stored runs of version 0.1 can still be read: journal, space file, tables and best config."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import raysearch
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_tables
from raysearch.results.confirmation import read_confirmation
from raysearch.runs.outcome import write_outcome
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.parsing import load_space
from trainables.dotted_paths import leaves

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"
SPACES = Path(__file__).parents[3] / "search_spaces"
NAMES = sorted(path.name for path in RUNS.iterdir())


@pytest.fixture(params=NAMES)
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> RunDir:
    """Provide a copy of a run whose space file refers to the present place of the trainable."""
    for name in NAMES:
        shutil.copytree(RUNS / name, tmp_path / name)
        space = tmp_path / name / "space.yaml"
        text = space.read_text(encoding="utf-8").replace("SPACES", str(SPACES)).replace("RUNS", str(tmp_path))
        space.write_text(text, encoding="utf-8")
    return RunDir.open(tmp_path / request.param)


def test_the_tables_are_made_again_from_the_journal(run_dir: RunDir) -> None:
    written = {path: pq.read_table(path).to_pylist() for path in (run_dir.trials_table, run_dir.results_table)}
    write_tables(read_history(run_dir.journal), run_dir)
    assert {path: pq.read_table(path).to_pylist() for path in written} == written


def test_the_search_stands_where_it_ended(run_dir: RunDir) -> None:
    before = run_dir.journal.read_bytes()
    with Journal(run_dir.journal) as journal:
        search = Search(load_space(run_dir.space), journal)
        assert search.finished
        assert search.propose() is None
    assert run_dir.journal.read_bytes() == before


def test_the_outcome_is_written_again(run_dir: RunDir) -> None:
    best = json.loads(run_dir.best_config.read_text(encoding="utf-8"))
    history = read_history(run_dir.journal)
    write_outcome(Run(run_dir, load_space(run_dir.space), history))
    again = json.loads(run_dir.best_config.read_text(encoding="utf-8"))
    for block in (best["raysearch"], again["raysearch"]):
        block.pop("space_sha256")  # the folder has moved, and the space file contains it
        block.pop("versions")
    kept = dict(leaves(again))  # later versions may add fields
    assert {path: kept.get(path) for path, _ in leaves(best)} == dict(leaves(best))
    assert (read_confirmation(run_dir, history) is not None) == ("confirmed" in best["raysearch"])
    assert run_dir.root.joinpath("report.html").is_file()


def test_the_python_interface_opens_it(run_dir: RunDir) -> None:
    result = raysearch.open_run(run_dir.root)
    assert result.finished
    assert len(result.trials) == result.num_trials
