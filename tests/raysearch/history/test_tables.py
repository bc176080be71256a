import csv
import json
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.history.run_dir import RunDir
from raysearch.history.tables import results_table, trials_table, write_table, write_tables
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
