"""Tests of reading a whole space file: its defaults, and all its faults at once."""

import re
import subprocess
import sys
from pathlib import Path

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tests.raysearch.space.space_files import BASE, changed, faults_of, spec_of
from trainables.config import Config


def test_the_whole_file_becomes_a_spec(folder: Path) -> None:
    spec = spec_of(folder)
    assert spec.name == "camvid"
    assert [p.path for p in spec.parameters] == list(BASE["space"])
    assert [p.distribution for p in spec.parameters] == [
        FloatDistribution(0.05, 0.5, log=True),
        IntDistribution(1, 256, log=True),
        CategoricalDistribution([True, False]),
        IntDistribution(500, 5000),
    ]
    assert spec.objectives[0].metric == "miou"
    assert (spec.search.algorithm, spec.search.trials, spec.scheduler.name) == ("tpe", 8, "asha")
    assert (spec.max_iters, spec.grace_iters) == (4500, 500)


def test_sections_that_are_absent_take_their_defaults(folder: Path) -> None:
    document = {key: BASE[key] for key in ("trainable", "space", "objective")}
    spec = spec_of(folder, document)
    assert spec.name == "space"
    assert (spec.search.algorithm, spec.search.trials, spec.search.seed) == ("auto", 32, 0)
    assert (spec.scheduler.name, spec.scheduler.reduction_factor) == ("asha", 3)
    assert (spec.resources.cpu, spec.resources.gpu, spec.resources.concurrent) == (1.0, 0.0, "auto")
    assert spec.max_iters == Config().train.max_iters


def test_a_trainable_that_does_not_load(folder: Path) -> None:
    document = changed(trainable="t.py:Tt", search={"trials": 0})
    document["space"]["contrast.max_views"]["when"] = {"optim.name": "sgd"}
    faults = faults_of(folder, document)
    assert len(faults) == 2, "the rest of the file is checked all the same"
    assert re.fullmatch(r"space\.yaml: trainable: .*/t\.py:Tt the module has no Tt; did you mean T\?", faults[0])
    assert "trainable: 3 is a number, not text" in faults_of(folder, changed(trainable=3))[0]


def test_all_faults_at_once_in_the_order_of_the_file(folder: Path) -> None:
    document = {
        "resources": {"cpu": 0},
        "space": {
            "contrast.memory": {"type": "categorical", "choices": []},
            "optim.lr": {"type": "float", "low": -1.0, "high": 0.1},
        },
        "search": {"trials": 0},
        "config": {"optim": {"momentum": 3.0}},
        "objective": {"metric": "iou", "mode": "max"},
        "trainable": "t.py:T",
    }
    places = [fault.split(": ")[1] for fault in faults_of(folder, document)]
    assert places == [
        "resources.cpu",
        "space.contrast.memory",
        "space.optim.lr",
        "search.trials",
        "config.optim.momentum",
        "objective.metric",
    ]


def test_reading_a_space_file_needs_neither_ray_nor_torch() -> None:
    program = "import sys, raysearch.space.parsing; print(sorted({'ray', 'torch'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
