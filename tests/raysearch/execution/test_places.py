"""Tests of the choice between Ray and this process."""

import pytest

from raysearch.errors import InputError
from raysearch.execution.places import open_place
from raysearch.space.settings import ResourceSettings


def test_a_local_executor_joins_no_cluster() -> None:
    with pytest.raises(InputError, match=r"--address head:6379: a local executor .* does not join a cluster"):
        open_place("local", "head:6379", ResourceSettings())


def test_a_trial_that_asks_for_more_than_this_machine_has_is_wrong_input() -> None:
    with pytest.raises(InputError, match="a trial asks for 4096 CPU and 0 GPU, but no node has that"):
        open_place("local", None, ResourceSettings(cpu=4096))
