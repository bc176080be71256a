"""Tests of `check`: time and memory by hand, the most expensive configs, all faults at once."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysearch.checks import check as check_module
from raysearch.checks import check_tables
from raysearch.checks.check import check_search, dearest
from raysearch.checks.measure import NotMeasured, _measured, _reason
from raysearch.errors import InputError
from raysearch.execution.machine import concurrency_notice, num_fitting
from raysearch.execution.preflight import faults_of_config
from raysearch.execution.trial_actor import TrialContext
from raysearch.search.estimate import Interval
from raysearch.space.parsing import load_space
from raysearch.space.settings import ResourceSettings
from tests.raysearch.checks.examples import GB, MACHINE, TINY, check_of, measurement, spec_of


class TestCheck:
    def test_time_is_iterations_times_seconds(self, tmp_path: Path) -> None:
        check = check_of(spec_of(tmp_path), measurement(1.0, 1.0), measurement(2.0, 2.0))
        # A report takes 10 s every 10 iterations: 2 s per iteration, 4 s at most. Ray takes 8 s, two rounds of trials 1
        # s.
        assert check.seconds == Interval(150 * 2 + 9, 175 * 2.5 + 9, 200 * 3 + 9)
        assert check.confirm_seconds == 600
        assert check_of(spec_of(tmp_path), NotMeasured("late", is_fault=False)).seconds is None

    def test_memory_that_is_enough_is_no_warning(self, tmp_path: Path) -> None:
        check = check_of(spec_of(tmp_path), measurement(1.0, 1.5), measurement(2.0, 2.0))
        assert (check.peak_bytes, check.fit_into_memory, check.warning) == (2 * GB, 4, None)

    def test_too_little_memory_is_one_warning_with_its_fix(self, tmp_path: Path) -> None:
        warning = check_of(spec_of(tmp_path), measurement(1.0, 3.0)).warning
        assert warning is not None
        assert "4 trials at a time take 12.0 GB of memory, more than the machine has free (8.0 GB)" in warning
        assert "set resources.concurrent to 2" in warning
        alone = check_of(spec_of(tmp_path), measurement(1.0, 9.0)).warning
        assert alone is not None
        assert "not even one fits" in alone
        limited = check_of(spec_of(tmp_path, resources={"memory_gb": 1}), measurement(1.0, 1.5)).warning
        assert limited is not None
        assert "the default config takes 1.5 GB, more than resources.memory_gb allows (1.0 GB)" in limited
        assert "its trial will end as infeasible" in limited
        found = measurement(1.0, 0.5), measurement(1.0, 1.5)
        dearest = check_of(spec_of(tmp_path, resources={"memory_gb": 1}), *found).warning
        assert dearest is not None
        assert dearest.startswith("a trial takes 1.5 GB, more than resources.memory_gb allows (1.0 GB)")

    def test_memory_of_gpus_counts_by_gpu(self, tmp_path: Path) -> None:
        machine = replace(MACHINE, gpus=2, gpu_memory_bytes=10 * GB)
        check = check_of(spec_of(tmp_path), measurement(1.0, 6.0, on_gpu=True), machine=machine)
        assert check.fit_into_memory == 2  # one on each GPU, though 20 GB would hold three
        assert check.warning is not None
        assert "the GPUs have (20.0 GB)" in check.warning

    def test_trials_fit_by_what_is_scarcest(self) -> None:
        assert num_fitting(ResourceSettings(cpu=2), cpus=7, gpus=0) == 3
        assert num_fitting(ResourceSettings(cpu=1, gpu=0.5), cpus=16, gpus=2) == 4
        assert num_fitting(ResourceSettings(cpu=1, gpu=1), cpus=16, gpus=0) == 0

    def test_the_dearest_config_of_every_kind_of_network(self, tmp_path: Path) -> None:
        space = {
            "optim.lr": {"type": "float", "low": 1e-3, "high": 0.1},
            "train.batch_size": {"type": "int", "low": 2, "high": 16},
            "model.backbone": {"type": "categorical", "choices": ["test_efficientnet", "test_resnet"]},
            "contrast.memory": {"type": "categorical", "choices": [False, True]},
            "contrast.memory_size": {"type": "int", "low": 10, "high": 5000, "when": {"contrast.memory": True}},
        }
        dear = {"train.batch_size": 16, "contrast.memory": True, "contrast.memory_size": 5000}
        assert dearest(spec_of(tmp_path, space)) == [dear, {"model.backbone": "test_resnet", **dear}]
        constraints = ["train.batch_size <= 8"]
        assert dearest(spec_of(tmp_path, space, constraints=constraints))[0].get("train.batch_size") is None
        assert dearest(spec_of(tmp_path)) == []

    @pytest.mark.parametrize(
        ("concurrent", "fitting", "expected"), [("auto", 2, None), (2, 2, None), (9, 2, "2 trials fit")]
    )
    def test_a_wish_for_more_trials_than_fit_is_told(self, concurrent: Any, fitting: int, expected: str | None) -> None:
        notice = concurrency_notice(ResourceSettings(concurrent=concurrent), fitting)
        assert (notice is None) == (expected is None)
        if notice is not None:
            assert notice == f"resources.concurrent is {concurrent}, but only {expected} at a time by " + (
                "resources.cpu and resources.gpu"
            )

    def test_check_tells_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(check_module, "measure", lambda spec, configs, **_: [measurement(1.0, 1.0)] * len(configs))
        found = check_search(spec_of(tmp_path, resources={"concurrent": 4096}))
        (notice,) = (line for line in found.notices if "concurrent" in line)
        assert notice.startswith("resources.concurrent is 4096, but only ")
        assert found.concurrent < 4096

    def test_a_config_that_diverges_is_a_finding(self, tmp_path: Path) -> None:
        lost = NotMeasured("the loss is nan at iteration 2", is_fault=False, loses_trial=True)
        check = check_of(spec_of(tmp_path), lost, measurement(1.0, 1.0), lost)
        assert check.default_lost == "the loss is nan at iteration 2"
        (warning,) = check_tables.warnings(check)
        assert warning.endswith("the loss is nan at iteration 2; the search ends such trials without a score")
        late = NotMeasured("not measured within 40 s", is_fault=False)
        assert check_of(spec_of(tmp_path), late, late).default_lost is None
        assert check_tables.warnings(check_of(spec_of(tmp_path), late, late)) == []

    def test_the_iteration_of_a_divergence_is_measured(self, tmp_path: Path) -> None:
        config = {**TINY, "optim": {"lr": 1e30}, "loss": {"segmentation": "ce"}}
        spec = spec_of(tmp_path, config=config)
        try:
            found: Any = _measured(TrialContext.of(spec), spec.config, tmp_path)
        except FloatingPointError as error:
            found = _reason(error)
        assert (found.is_fault, found.loses_trial) == (False, True)
        assert re.fullmatch(r"the loss is (nan|inf) at iteration \d+", found.reason)

    def test_faults_of_the_resources_and_the_data_are_told_together(self, tmp_path: Path) -> None:
        config = {"data": {"dir": str(tmp_path / "nowhere")}}
        with pytest.raises(InputError) as caught:
            check_search(spec_of(tmp_path, config=config, resources={"cpu": 4096}))
        text = "\n".join(map(str, caught.value.faults))
        assert "nowhere" in text
        assert "a trial asks for 4096 CPU" in text

    def test_faults_of_the_file_and_the_data_are_told_together(self, tmp_path: Path) -> None:
        (tmp_path / "space.yaml").write_text(
            "config: {data: {dir: nowhere}, model: {backbone: tset_efficientnet}}\n"
            "space: {optim.lr: {type: float, low: 0, high: 1, log: true}}\n"
            "objective: {metric: miou, mode: max}\n"
            "serach: {trials: 3}\n"
        )
        with pytest.raises(InputError) as caught:
            load_space(tmp_path / "space.yaml", look=faults_of_config)
        text = "\n".join(map(str, caught.value.faults))
        assert len(caught.value.faults) == 4
        for what in (
            "did you mean search?",
            "a log scale needs low > 0",
            str(tmp_path / "nowhere"),
            "tset_efficientnet",
        ):
            assert what in text
