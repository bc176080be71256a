"""Tests of raysearch as called from Python: dicts with ranges, tables as frames, in a notebook."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray import tune

import raysearch
from raysearch.history.run_dir import RunDir
from raysearch.runs.outcome import search_result, write_outcome
from raysearch.search.run import Run
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import toy_spec

QUADRATIC = Path(raysearch.__file__).parents[1] / "search_spaces" / "quadratic_trainable.py"


def test_the_tables_of_a_run_are_frames(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    history = history_of(*(trial({"x": 0.5}, {2: 0.1 * n, 4: 0.2 * n}) for n in range(3)))
    write_outcome(Run(RunDir(tmp_path), spec, history))
    result = search_result(Run(RunDir(tmp_path), spec, history), None)
    assert list(result.trials.nlargest(1, "value")["trial"]) == [2]
    by_iteration = result.results.pivot(index="iteration", columns="trial", values="value")
    assert list(by_iteration.loc[2]) == pytest.approx([0.0, 0.1, 0.2])


def test_a_dict_may_hold_ranges_of_ray_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        "raysearch.runs.driver.run", lambda spec, out, executor, show: asked.append((spec, out, executor, show))
    )
    document = {
        "name": "mine",
        "trainable": f"{QUADRATIC}:Quadratic",
        "space": {"rate": tune.loguniform(1e-3, 1.0), "momentum": {"type": "float", "low": 0.0, "high": 0.9}},
        "objective": {"metric": "loss", "mode": "min"},
        "scheduler": {"name": "none"},
    }
    raysearch.run(document, tmp_path, executor="local")
    ((spec, out, executor, show),) = asked
    assert [parameter.path for parameter in spec.parameters] == ["rate", "momentum"]
    assert (spec.name, out, executor, show) == ("mine", tmp_path, "local", None)
    with pytest.raises(raysearch.InputError, match=r"space: space\.rate: a normal distribution has no limits"):
        raysearch.run({**document, "space": {"rate": tune.randn()}})


CELLS = (
    "import asyncio, raysearch, ray\n"
    "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR')\n"
    "document = {'trainable': QUADRATIC + ':Quadratic', 'config': {'method': 'plain', 'slope': 0.05},\n"
    "            'space': {'rate': {'type': 'float', 'low': 0.01, 'high': 1}},\n"
    "            'objective': {'metric': 'loss', 'mode': 'min'}, 'search': {'trials': 2},\n"
    "            'scheduler': {'name': 'none', 'max_iters': 3}}\n"
    "raysearch.run(document, 'here').trials",
    "(await asyncio.to_thread(raysearch.run, document, 'in_a_thread')).num_trials",
    "len(raysearch.open_run('here').trials)",
)


@pytest.mark.slow
def test_a_notebook_shows_a_search_as_it_goes_on(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cells = [f"QUADRATIC = {str(QUADRATIC)!r}\n" + CELLS[0], *CELLS[1:]]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    first, second, third = (cell["outputs"] for cell in notebook["cells"])
    (block,) = [o for o in first if o["output_type"] == "display_data" and "2 of 2 trials" in o["data"]["text/plain"]]
    assert "best    loss " in block["data"]["text/plain"]
    assert "<pre" in block["data"]["text/html"]
    lines = "".join(o["text"] for o in first if o.get("name") == "stdout")
    assert len(re.findall(r"^trial +\d completed", lines, re.MULTILINE)) == 2
    assert "rate" in first[-1]["data"]["text/html"]
    assert second[-1]["data"]["text/plain"] == "2"
    assert third[-1]["data"]["text/plain"] == "2"
    assert len(pq.read_table(tmp_path / "in_a_thread" / "trials.parquet")) == 2
