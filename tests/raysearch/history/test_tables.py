import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysearch.history import tables
from raysearch.history.events import Report
from raysearch.history.history import TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import Tables, results_table, trials_table, write_table, write_tables
from tests.raysearch.report.histories import history_of, trial


def test_every_table_is_there_as_csv_too(tmp_path: Path) -> None:
    history = history_of(
        trial({"optim.lr": 0.01, "memory": True}, [0.25, 0.5], metrics={"iou": [0.5, math.nan], "lr": 0.1}),
        trial({"optim.lr": 0.1}, [], "failed", error='a "quoted", long\nerror'),
    )
    write_tables(history, RunDir(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results.csv",
        "results.parquet",
        "trials.csv",
        "trials.parquet",
    ]
    trials = list(csv.DictReader((tmp_path / "trials.csv").open(newline="")))
    assert list(trials[0]) == trials_table(history).column_names
    assert [row["optim.lr"] for row in trials] == ["0.01", "0.1"]
    assert [row["memory"] for row in trials] == ["true", ""]
    assert trials[1]["error"] == 'a "quoted", long\nerror'
    results = pd.read_csv(tmp_path / "results.csv")
    assert results["value"].tolist() == [0.25, 0.5]
    assert [json.loads(text) for text in results["iou"]] == [[0.5, None], [0.5, None]]
    assert results.drop(columns="iou").equals(pd.DataFrame(results_table(history).drop("iou").to_pydict()))


def test_a_missing_list_is_an_empty_cell(tmp_path: Path) -> None:
    table = pa.table({"trial": [0, 1], "iou": pa.array([[1.0], None], pa.list_(pa.float64()))})
    write_table(table, tmp_path / "t.parquet")
    assert (tmp_path / "t.csv").read_text() == '"trial","iou"\n0,"[1.0]"\n1,\n'
    assert pq.read_table(tmp_path / "t.parquet").equals(table)


ALIKE: dict[str, tuple[Any, ...]] = {
    "numbers": (1, 2.5, None),
    "whole numbers": (1, 2),
    "words": ("a", "b"),
    "flags": (True, False),
    "rare": (*[None] * 5, 1),
}
MIXED: dict[str, tuple[Any, ...]] = {
    "text and numbers": ("a", 1, None),
    "flags and numbers": (True, 1),
    "lists": ([1, 2], [3], None),
    "text and lists": ("a", [1, 2]),
}


def drawn(rng: random.Random, number: int, kinds: dict[str, tuple[Any, ...]]) -> TrialHistory:
    """Return a running trial with values and metrics of some kinds, of which some are missing."""
    values = {name: rng.choice(choices) for name, choices in kinds.items() if rng.random() < 0.9}
    metrics: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, int | float)}
    metrics |= {"iou": [0.5, math.nan]} if number > 2 else {}
    metrics |= {"either": 1.0 if rng.random() < 0.9 else [1.0]} if kinds is not ALIKE else {}
    one = trial(values, [rng.random() for _ in range(rng.randrange(4))], "running", metrics=metrics)
    one.number = number
    return one


def written(tables: Tables, folder: Path) -> list[Any]:
    """Write the tables, and return their types and the content of all files; NaN equals NaN."""
    tables.write(RunDir(folder))
    read = [pq.read_table(folder / name) for name in ("trials.parquet", "results.parquet")]
    texts = [(folder / name).read_text() for name in ("trials.csv", "results.csv")]
    return [*(table.schema for table in read), *(repr(table.to_pydict()) for table in read), *texts]


@pytest.mark.parametrize("kinds", [ALIKE, ALIKE | MIXED], ids=["alike", "mixed"])
@pytest.mark.parametrize("seed", range(3))
def test_tables_that_grow_are_those_that_are_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, kinds: dict[str, tuple[Any, ...]]
) -> None:
    monkeypatch.setattr(tables, "_BLOCK", 3)
    rng, history = random.Random(seed), history_of()
    growing, updates = Tables(history), []
    for number in range(14):
        history.add(drawn(rng, number, kinds))
        for one in history.trials[-4:]:
            if one.status == "running":
                one.add(Report(9 + number, rng.random(), {"late": 1.0}, None, 1.0, done=False))
                one.status = rng.choice(["completed", "failed", "running"])
        updates.append((len(history.trials), written(growing, tmp_path), written(Tables(history), tmp_path)))
    monkeypatch.setattr(tables, "_BLOCK", 1000)
    assert all(grown == anew for _, grown, anew in updates)
    assert updates[-1][1] == written(Tables(history), tmp_path)


def test_an_update_makes_the_rows_of_ended_blocks_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK", 10)
    made: list[int] = []
    row_of = tables._trial_row
    monkeypatch.setattr(tables, "_trial_row", lambda one, history: made.append(one.number) or row_of(one, history))
    history = history_of(*(trial({"x": 1.0}, [0.5]) for _ in range(95)), trial({"x": 1.0}, [0.5], "running"))
    growing = Tables(history)
    growing.write(RunDir(tmp_path))
    assert made == list(range(96))
    made.clear()
    growing.write(RunDir(tmp_path))
    assert made == list(range(90, 96)), "the block of the running trial, which is not full either"
