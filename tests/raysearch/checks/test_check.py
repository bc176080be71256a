"""Tests of `check`: measured trials, time and memory by hand, the most expensive configs, all faults at once."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train._internal.session import get_session, shutdown_session
from rich.console import Console

from raysearch.checks import check as check_module
from raysearch.checks import check_tables
from raysearch.checks.check import Check, MeasuredTrial, check_search, dearest
from raysearch.checks.measure import Measurement, NotMeasured, _measured, _reason, measure
from raysearch.errors import InputError
from raysearch.execution import trial_actor
from raysearch.execution.machine import Machine, concurrency_notice, num_fitting
from raysearch.execution.preflight import faults_of_config
from raysearch.execution.trial_actor import TrialContext
from raysearch.search.estimate import Interval, SearchEstimate
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.settings import ResourceSettings
from raysearch.space.spec import SearchSpec
from tests.raysearch.trials import Curve, function
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


def printed(table: Any, width: int = 80) -> str:
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


class TestMeasure:
    def context(self, trainable: Any) -> TrialContext:
        return TrialContext(trainable, metric="score", mode="max", seed=0, cpu=1, gpu=0)

    def measured(self, folder: Path, trainable: Any, **config: Any) -> Any:
        return _measured(self.context(trainable), {"x": 0.5, **config}, folder)

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let four seconds pass between two looks at the clock, of which there is one per report."""
        seconds = itertools.count(0.0, 4.0)
        monkeypatch.setattr(trial_actor, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))

    def test_a_class_is_timed_by_its_reports(self, tmp_path: Path) -> None:
        found = self.measured(tmp_path, Curve)
        assert found.cost == TrialCost(4.0, 0.0, 1)
        assert found.peak_bytes > 50 * 2**20

    def test_so_is_a_function(self, tmp_path: Path) -> None:
        try:
            found = self.measured(tmp_path, function)
        finally:  # here the process goes on, and the next function needs a session of its own
            session = get_session()
            assert session is not None
            session.finish(timeout=None)
            shutdown_session()
        assert found.cost == TrialCost(4.0, 0.0, 1)

    @pytest.mark.parametrize(
        ("ends", "reason", "is_fault"),
        [("no metric", "it reported no score, only accuracy", True), ("memory in setup", "no room", False)],
    )
    def test_a_trial_that_cannot_go_on_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, reason: str, is_fault: bool
    ) -> None:
        if ends == "no metric":
            monkeypatch.setattr(Curve, "step", lambda self: {"accuracy": 1.0})
        found = self.measured(tmp_path, Curve, ends=ends)
        assert isinstance(found, NotMeasured)
        assert reason in found.reason
        assert found.is_fault == is_fault

    def test_each_config_has_a_process_of_its_own_and_none_outlives_its_time(self, tmp_path: Path) -> None:
        trainable = f"{Path(__file__).parents[1] / 'trials.py'}:Curve"
        scheduler = {"name": "none", "max_iters": 8}
        objective = {"metric": "score", "mode": "max"}
        space = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
        spec = spec_of(tmp_path, space, trainable=trainable, config={}, objective=objective, scheduler=scheduler)
        configs: list[dict[str, Any]] = [{"x": 0.5}, {"x": 0.5, "ends": "killed always"}]
        well, killed = measure(spec, configs, side_by_side=2, timeout_s=600)
        assert isinstance(well, Measurement)
        what = "the system killed its process, probably because memory ran out"
        assert killed == NotMeasured(what, is_fault=False, loses_trial=True)
        assert measure(spec, [{"x": 0.5}], side_by_side=1, timeout_s=0.01) == [
            NotMeasured("not measured within 0 s", is_fault=False)
        ]


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


class TestTables:
    SPACE = {
        "optim.lr": {"type": "float", "low": 0.02, "high": 0.2, "log": True},
        "train.batch_size": {"type": "int", "low": 2, "high": 8, "step": 2},
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.memory_size": {"type": "int", "low": 10, "high": 5000, "when": {"contrast.memory": True}},
    }

    def test_the_space_as_a_person_reads_it(self, tmp_path: Path) -> None:
        text = printed(check_tables.space_table(spec_of(tmp_path, self.SPACE)), width=120)
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
        assert rows == [
            ["optim.lr", "0.02 to 0.2", "log", "0.01 (outside)", ""],
            ["train.batch_size", "2 to 8", "steps of 2", "2", ""],
            ["contrast.memory", "true, false", "choice", "false", ""],
            ["contrast.memory_size", "10 to 5000", "linear", "2000", "contrast.memory is true"],
        ]

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_no_table_is_wider_than_the_terminal(self, tmp_path: Path, width: int) -> None:
        spec = spec_of(tmp_path, self.SPACE)
        check = check_of(spec, measurement(0.123, 1.5), NotMeasured("not measured within 40 s", is_fault=False))
        for table in check_tables.tables(check):
            assert max(map(len, printed(table, width).splitlines())) <= width

    @pytest.mark.parametrize(
        ("values", "constraints", "expected"),
        [
            ([1e-3, 0.01], [], "2 trials instead of 8, because the space has no more configs, about 700"),
            ([1e-3, 0.1], [], "3 trials instead of 8, because the space has no more configs, about 700"),
            (
                [1e-3, 0.01, 0.1],
                ["optim.lr <= 0.05"],
                "2 trials instead of 8, because the space has no more configs that",
            ),
            (list(range(1, 9)), [], "8 trials, about 700"),
        ],
    )
    def test_a_space_with_few_configs_says_how_many_trials_run(
        self, tmp_path: Path, values: list[float], constraints: list[str], expected: str
    ) -> None:
        space = {"optim.lr": {"type": "categorical", "choices": values}}  # the default is 0.01
        check = check_of(spec_of(tmp_path, space, constraints=constraints), measurement(1.0, 1.5))
        assert check_tables.lines(check)[0].startswith(f"search:  {expected}")

    def test_lines_say_what_it_takes(self, tmp_path: Path) -> None:
        lines = check_tables.lines(check_of(spec_of(tmp_path), measurement(1.0, 1.5)))
        assert lines == [
            "search:  8 trials, about 700 (600 to 800) iterations of 800 without early stopping; "
            "4 (3 to 5) trials train to the full budget",
            "time:    6 min (5 min to 7 min), and 10 min to confirm",
            "memory:  6.0 GB for 4 trials at a time; there is room for 5",
            "machine: 4 CPUs, 16.0 GB of memory, 8.0 GB of it free; 4 trials run at a time",
        ]
