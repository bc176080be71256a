"""Tests that bad input ends in a message; the benchmark tries more of it."""

import pytest

from benchmarks.bad_input import KINDS, try_input


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_bad_input_is_accepted_or_refused(kind: str) -> None:
    outcomes = {number: try_input(kind, number) for number in range(20)}
    failed = {number: text for number, (outcome, text) in outcomes.items() if outcome in ("traceback", "hang")}
    assert not failed, f"python -m benchmarks.bad_input --kind {kind} --only NUMBER repeats one of them"
    assert {outcome for outcome, _ in outcomes.values()} >= {"refused"}
