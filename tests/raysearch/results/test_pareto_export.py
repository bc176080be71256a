"""Tests of the results of a search for several objectives: columns, configs of the Pareto set, its panel."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raysearch.config.config_tree import ConfigTree
from raysearch.history.history import History
from raysearch.history.journal import Journal
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.history.pareto import pareto_set
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import trials_table
from raysearch.report.page import search_view
from raysearch.report.pareto_set import pareto_set_info, pareto_set_parts
from raysearch.report.parts import Table, Text
from raysearch.report.view import SearchView
from raysearch.runs.outcome import SearchResult, search_result, write_outcome
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import SCORE_AND_COST, run_search, run_trial, toy_spec

Outcome = tuple[SearchSpec, RunDir, History]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("several")
    spec = toy_spec(folder, objective=SCORE_AND_COST, search={"algorithm": "random", "trials": 16, "seed": 3})
    run_dir = RunDir.create("toy", folder / "run")
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    history = run_search(spec, run_dir.journal)
    write_outcome(Run(run_dir, spec, history))
    return spec, run_dir, history


def test_every_trial_of_the_set_has_a_config_that_loads_again(outcome: Outcome) -> None:
    spec, run_dir, history = outcome
    front = pareto_set(history)
    assert len(front) > 2
    assert sorted(run_dir.pareto.iterdir()) == sorted(run_dir.pareto_config(one.number) for one in front)
    for one in front:
        document = json.loads(run_dir.pareto_config(one.number).read_text())
        block = document.pop("raysearch")
        score, cost = history.values_of(one) or ()
        assert (block["trial"], block["value"], block["objectives"]) == (
            one.number,
            score,
            {"score": score, "cost": cost},
        )
        assert document == spec.trial_config({} if one.is_default else one.values)
        assert ConfigTree(spec.trainable.config_model).model(**document)  # type: ignore[misc]


def test_the_best_config_is_the_best_by_the_first_objective(outcome: Outcome) -> None:
    _, run_dir, history = outcome
    best = json.loads(run_dir.best_config.read_text())
    assert best == json.loads(run_dir.pareto_config(pareto_set(history)[0].number).read_text())
    assert best["raysearch"]["value"] == max(one.best("max").value for one in pareto_set(history))  # type: ignore[union-attr]


def test_tables_have_a_column_for_every_objective(outcome: Outcome) -> None:
    _, run_dir, history = outcome
    rows = pq.read_table(run_dir.trials_table).to_pylist()
    for row, one in zip(rows, history.trials, strict=True):
        assert (row["value"], row["cost"]) == (history.values_of(one) or (None, None))
    front = pq.read_table(run_dir.pareto_table).to_pylist()
    assert front == [rows[one.number] for one in pareto_set(history)]


def test_a_column_that_is_there_already_keeps_its_name() -> None:
    history = history_of(trial({}, [0.5], metrics={"seconds": 7.0}))
    history.trials[0].peak_memory_bytes = 4096
    history.further = (("seconds", "min"), (PEAK_MEMORY, "min"))
    (row,) = trials_table(history).to_pylist()
    assert (row["seconds"], row["objective.seconds"], row[PEAK_MEMORY]) == (1.5, 7.0, 4096)


def test_one_objective_leaves_no_set_behind(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 3, "seed": 3})
    run_dir = RunDir.create("toy", tmp_path / "run")
    history = run_search(spec, run_dir.journal)
    write_outcome(Run(run_dir, spec, history))
    assert not run_dir.pareto.exists()
    assert not run_dir.pareto_table.exists()
    assert "Pareto set" not in run_dir.report.read_text()
    result = search_result(Run(run_dir, spec, history), None)
    assert (result.objectives, result.pareto_set) == ((), ())


def test_a_trial_that_is_beaten_later_loses_its_config(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, objective=SCORE_AND_COST, search={"algorithm": "random", "trials": 16, "seed": 3})
    run_dir = RunDir.create("toy", tmp_path / "run")
    seen: set[Path] = set()
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        while (proposal := search.propose()) is not None:
            run_trial(search, proposal)
            if proposal.number % 5 == 0:
                write_outcome(Run(run_dir, spec, search.history))
                seen |= set(run_dir.pareto.iterdir())
        write_outcome(Run(run_dir, spec, search.history))
        left = {run_dir.pareto_config(one.number) for one in pareto_set(search.history)}
    assert set(run_dir.pareto.iterdir()) == left
    assert seen - left


def test_the_result_names_the_set(outcome: Outcome) -> None:
    spec, run_dir, history = outcome
    result: SearchResult = search_result(Run(run_dir, spec, history), None)
    assert result.objectives == ("score", "cost")
    assert [point.trial for point in result.pareto_set] == [one.number for one in pareto_set(history)]
    assert all(point.config.is_file() for point in result.pareto_set)


def test_the_panel_tells_the_set_from_the_rest(outcome: Outcome) -> None:
    spec, run_dir, history = outcome
    assert "<h2>Pareto set</h2>" in run_dir.report.read_text()
    info = pareto_set_info(search_view(Run(run_dir, spec, history)))
    assert info.metrics == ("score", "cost")
    assert [point.number for point in info.front] == [one.number for one in pareto_set(history)]
    reported = {one.number for one in history.trials if one.reports}
    assert {point.number for point in (*info.front, *info.others)} == reported
    assert len(info.front) + len(info.others) == len(reported)
    table = pareto_set_parts(info)[-1]
    assert isinstance(table, Table)
    assert table.header == ("trial", "status", "score", "cost", "iteration")
    assert [row[0] for row in table.rows] == [str(point.number) for point in info.front]


def test_the_panel_of_three_objectives_draws_no_line() -> None:
    metrics: dict[str, Any] = {"cost": 2.0, "size": 3.0}
    history = history_of(trial({"views": 1}, [0.5], metrics=metrics))
    history.further = (("cost", "min"), ("size", "min"))
    _, plot, table = pareto_set_parts(pareto_set_info(SearchView(history, "score")))
    assert plot.figure.data[-1].mode == "markers"  # type: ignore[union-attr]
    assert table.rows == (("0", "completed", "0.5", "2", "3", "1"),)  # type: ignore[union-attr]


def test_an_empty_search_has_no_set_yet() -> None:
    history = history_of(trial({"views": 1}, [], "running"))
    history.further = (("cost", "min"),)
    assert pareto_set_parts(pareto_set_info(SearchView(history, "score"))) == [
        Text("No trial has a score yet. Failed and infeasible trials do not count.")
    ]
