"""Tests of the cap on the thread pools of a worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from ray import tune

from raysearch.execution.local_executor import LocalStorage
from raysearch.execution.threads import cap_threads
from raysearch.execution.trial_actor import TrialContext, wrap


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def test_larger_pools_are_capped_and_smaller_ones_are_left_alone() -> None:
    torch.set_num_threads(5)
    cv2.setNumThreads(6)
    assert cap_threads(2) == "5 threads of PyTorch and 6 threads of OpenCV capped to 2, the CPUs of a trial"
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    assert cap_threads(3) is None
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)


class Greedy(tune.Trainable):
    """A trainable that takes all the threads it can think of."""

    def setup(self, config: dict[str, Any]) -> None:
        torch.set_num_threads(9)

    def step(self) -> dict[str, Any]:
        num_threads = torch.get_num_threads()
        torch.set_num_threads(9)
        return {"score": float(num_threads)}


def test_a_trainable_gets_no_more_threads_than_its_trial_has_cpus(tmp_path: Path) -> None:
    context = TrialContext(trainable=Greedy, metric="score", mode="max", seed=0, cpu=2.0, gpu=0.0)
    config = {"number": 0, "title": "trial 0", "config": {}, "folder": str(tmp_path / "0"), "shared_folder": None}
    storage = LocalStorage(str(tmp_path), "greedy", trial_dir_name="trial")
    actor = wrap(context)(config={**config, "reports": [], "seed": None}, storage=storage)
    assert [actor.step()["raysearch"].value for _ in range(2)] == [2.0, 2.0]
    actor.cleanup()
