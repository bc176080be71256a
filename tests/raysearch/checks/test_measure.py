"""Tests of measured trials: timed by their reports, each in a process of its own."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train._internal.session import get_session, shutdown_session

from raysearch.checks.measure import Measurement, NotMeasured, _measured, measure
from raysearch.execution import trial_actor
from raysearch.execution.trial_actor import TrialContext
from tests.raysearch.checks.examples import spec_of
from tests.raysearch.trials import Curve, function
from trainables.protocol import TrialCost


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
