"""Tests that a search survives kills, power cuts, failing calls, flipped bits and lost workers."""

import os
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks.simulated_faults import simulate


def fails(number: int) -> bool:
    try:
        simulate(number)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("count", [40, pytest.param(3000, marks=pytest.mark.slow)])
def test_no_fault_loses_anything(count: int) -> None:
    met, failed = Counter[str](), []
    for number in range(count):
        try:
            met.update(fault.split(" (")[0] for fault in simulate(number))
        except Exception:
            failed.append(number)
    assert failed == [], "python -m benchmarks.simulated_faults --only NUMBER repeats one of them"
    for kind in ("kill", "power cut", "failed call"):
        assert {f"{kind} at {call}" for call in ("fsync", "open")} <= met.keys()
    assert met.keys() >= {"dead worker", "repeated report", "flipped bit in the journal", "flipped bit in a checkpoint"}


def test_a_number_meets_the_same_faults_again() -> None:
    assert simulate(5) == simulate(5)


def test_files_that_are_not_synced_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.atomic_files.sync", lambda path: None)
    assert any(fails(number) for number in range(60))


def test_a_journal_that_is_not_synced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.history.journal.os", SimpleNamespace(**{**vars(os), "fsync": lambda file: None}))
    assert any(fails(number) for number in range(60))
