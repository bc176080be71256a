"""Searches, measurements and checks for the tests of this folder."""

from pathlib import Path
from typing import Any

from raysearch.checks.check import Check, MeasuredTrial
from raysearch.checks.measure import Measurement, NotMeasured
from raysearch.execution.machine import Machine
from raysearch.search.estimate import Interval, SearchEstimate
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from trainables.protocol import TrialCost

GB = 2**30
MACHINE = Machine(cpus=4, gpus=0, memory_bytes=16 * GB, free_bytes=8 * GB, gpu_memory_bytes=None)
TINY = {
    "data": {"drawn": {"num_train": 8, "num_val": 4, "size": [32, 32]}, "augmentation": {"crop_size": [32, 32]}},
    "train": {"max_iters": 100, "report_iters": 10, "batch_size": 2},
}


def spec_of(folder: Path, space: dict[str, Any] | None = None, **sections: Any) -> SearchSpec:
    document = {
        "name": "x",
        "config": TINY,
        "space": space or {"optim.lr": {"type": "float", "low": 1e-3, "high": 0.1, "log": True}},
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"trials": 8},
        "scheduler": {"name": "none"},
    }
    return parse_space({**document, **sections}, folder)


def measurement(seconds: float, gigabytes: float, on_gpu: bool = False) -> Measurement:
    return Measurement(TrialCost(seconds, 10 * seconds, 10), int(gigabytes * GB), on_gpu)


def check_of(spec: SearchSpec, *found: Measurement | NotMeasured, machine: Machine = MACHINE) -> Check:
    estimate = SearchEstimate(Interval(600, 700, 800), Interval(150, 175, 200), Interval(3, 4, 5), 1200, 300)
    trials = tuple(MeasuredTrial({}, one) for one in found)
    return Check(spec, (), None, machine, 4, estimate, trials)
