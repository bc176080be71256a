"""Tests of the file of finished searches."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.search.results import Result, append, read

RESULT = Result("t", "ours", 8, 0, 10, {"own": [0.5, 0.25]}, 0.1, 12, 3.0, {}, "abc")


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", replace(RESULT, seed=1)
    append(file, RESULT)
    append(file, other)
    assert read([file, tmp_path / "missing.jsonl"]) == {RESULT.key: RESULT, other.key: other}


def test_a_search_that_ran_further_counts(tmp_path: Path) -> None:
    longer = replace(RESULT, trainings=25)
    append(tmp_path / "a.jsonl", longer)
    append(tmp_path / "b.jsonl", RESULT)
    assert read([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]) == {RESULT.key: longer}


def test_a_line_that_a_kill_cut_off_is_replaced(tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", replace(RESULT, seed=1)
    append(file, RESULT)
    file.write_bytes(file.read_bytes() + b'{"table": "t", "to')
    assert read([file]) == {RESULT.key: RESULT}
    append(file, other)
    assert read([file]) == {RESULT.key: RESULT, other.key: other}


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"table": "t"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: is not a result"):
        read([tmp_path / "a.jsonl"])
