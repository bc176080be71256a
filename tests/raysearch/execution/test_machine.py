"""Tests of the number of trials that run at the same time, against counts by hand."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysearch.errors import InputError
from raysearch.execution import machine
from raysearch.execution.machine import room, this_machine
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


def test_gpus_are_those_that_pytorch_sees_where_there_is_a_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes = [4 * 2**30, 2 * 2**30]
    cuda = SimpleNamespace(
        device_count=lambda: len(sizes), get_device_properties=lambda place: SimpleNamespace(total_memory=sizes[place])
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(machine, "_GPU_DEVICES", (tmp_path / "nvidiactl", tmp_path / "kfd"))
    assert (this_machine().gpus, this_machine().gpu_memory_bytes) == (0, None), "without a driver"
    (tmp_path / "kfd").touch()
    assert (this_machine().gpus, this_machine().gpu_memory_bytes) == (2, 2 * 2**30)
