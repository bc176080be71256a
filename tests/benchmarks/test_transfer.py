"""Test of the benchmark of transfer, with three synthetic data sets whose optima lie beside each other."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record, transfer
from benchmarks.search import tables
from benchmarks.search.synthetic import Synthetic

OPTIMA = {"a": 0.86, "b": 0.88, "c": 0.9}
SPACE = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "y", "z")}


def dataset(curves: Path, name: str, *, noisy: bool) -> Synthetic:
    def function(values: Mapping[str, Any], seed: int) -> float:
        return -sum((values[path] - OPTIMA[name]) ** 2 for path in SPACE)

    return Synthetic(f"lcbench-{name}", SPACE, function, pace="x")


def test_earlier_searches_on_similar_data_bring_a_search_nearer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "LCBench", dataset)
    monkeypatch.setattr(tables, "names", lambda half, all_tables, curves: [f"lcbench-{name}" for name in OPTIMA])
    words = ["--curves", "unused", "--results", tmp_path / "a.jsonl", "--earlier", tmp_path / "earlier"]
    words += ["--seeds", "1", "--trainings", "4", "--earlier-trainings", "8", "--json", tmp_path / "record.json"]
    monkeypatch.setattr(sys, "argv", ["transfer", *map(str, words)])
    transfer.main()
    (figure,) = record.read(tmp_path / "record.json").figures.values()
    assert figure.value < 0.8
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3 * 2
    before = (tmp_path / "a.jsonl").read_bytes()
    transfer.main()
    assert (tmp_path / "a.jsonl").read_bytes() == before, "nothing is run twice"
    assert "| from searches on other data sets | 3 | 3 |" in capsys.readouterr().out
