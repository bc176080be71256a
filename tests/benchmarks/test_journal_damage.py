"""Tests that damage of a journal is found; the benchmark tries more of it."""

from pathlib import Path

import pytest

from benchmarks import journal_damage
from raysearch.history.journal import JournalEnd


@pytest.mark.parametrize("seed", range(2))
def test_all_damage_of_a_journal_with_checksums_is_found(tmp_path: Path, seed: int) -> None:
    path = journal_damage.journals(tmp_path)["with checksums"]
    for kind, counts in journal_damage.outcomes(path, num_flips=100, num_lines=20, seed=seed).items():
        assert set(counts) == {"found"}, kind


def test_without_the_file_beside_it_only_missing_last_lines_are_believed(tmp_path: Path) -> None:
    path = journal_damage.journals(tmp_path)["with checksums"]
    JournalEnd(path).forget()
    outcomes = journal_damage.outcomes(path, num_flips=50, num_lines=20, seed=2)
    assert set(outcomes.pop("cut off")) == {"believed"}
    deleted = outcomes.pop("deleted")
    assert deleted["found"] >= 19, "one of the lines may be the last"
    for kind, counts in outcomes.items():
        assert set(counts) == {"found"}, kind


def test_damage_of_a_journal_without_checksums_is_never_a_traceback(tmp_path: Path) -> None:
    path = journal_damage.journals(tmp_path)["without checksums"]
    outcomes = journal_damage.outcomes(path, num_flips=200, num_lines=20, seed=3)
    assert sum(counts["traceback"] for counts in outcomes.values()) == 0
    assert outcomes["flipped"]["found"] > 100
    assert outcomes["exchanged"]["found"] > 10
