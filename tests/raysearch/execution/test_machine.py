"""Tests of the number of trials that run at the same time, against counts by hand."""

from typing import Any

import pytest

from raysearch.errors import InputError
from raysearch.execution.machine import room
from raysearch.space.settings import ResourceSettings


@pytest.mark.parametrize(
    ("resources", "machines", "concurrent", "share"),
    [
        ({"cpu": 2}, [(8.0, 0.0)], 4, 1 / 4),
        ({"cpu": 3}, [(8.0, 2.0)], 2, 1 / 2),
        ({"cpu": 1, "concurrent": 3}, [(8.0, 0.0)], 3, 1 / 3),
        ({"cpu": 4, "concurrent": 3}, [(8.0, 0.0)], 2, 1 / 2),
        ({"cpu": 1, "gpu": 1}, [(8.0, 2.0)], 2, 1 / 2),
        ({"cpu": 1, "gpu": 0.5}, [(8.0, 2.0)], 4, 1 / 4),
        ({"cpu": 4, "gpu": 0.5}, [(8.0, 2.0)], 2, 1 / 2),
        ({"cpu": 1, "gpu": 2}, [(8.0, 4.0)], 2, 1 / 2),
        ({"cpu": 2}, [(8.0, 0.0), (4.0, 0.0)], 6, 1 / 4),
        ({"cpu": 2, "concurrent": 2}, [(8.0, 0.0), (4.0, 0.0)], 2, 1 / 2),
    ],
)
def test_as_many_trials_run_at_once_as_the_machines_hold(
    resources: dict[str, Any], machines: list[tuple[float, float]], concurrent: int, share: float
) -> None:
    assert room(ResourceSettings.model_validate(resources), machines) == (concurrent, share)


def test_a_trial_fits_on_one_machine_or_none() -> None:
    with pytest.raises(
        InputError, match=r"asks for 1 CPU and 4 GPU, but no node has that \(8 CPU, 2 GPU; 4 CPU, 2 GPU\)"
    ):
        room(ResourceSettings(cpu=1, gpu=4), [(8.0, 2.0), (4.0, 2.0)])
