"""Tests of the faults of one document."""

import pytest

from raysearch.config.faults import MAX_FAULTS, FaultList
from raysearch.errors import InputError


def test_faults_beyond_a_limit_are_counted() -> None:
    faults = FaultList("space.yaml")
    for number in range(MAX_FAULTS + 7):
        faults.add((f"key{number}",), "is not known here")
    with pytest.raises(InputError) as caught:
        faults.raise_any({})
    assert len(caught.value.faults) == MAX_FAULTS + 1
    assert str(caught.value.faults[-1]) == "space.yaml: has 7 more faults; correct these first"
