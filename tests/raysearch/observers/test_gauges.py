"""Tests of the gauges without a Ray; `test_ray_dashboard.py` reads them from a real Prometheus."""

from pathlib import Path

import pytest

from raysearch.history.run_dir import RunDir
from raysearch.observers.gauges import Gauges
from raysearch.search.run import Run
from tests.raysearch.observers.test_progress import by_hand


def test_a_search_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[tuple[str, str], float] = {}

    class Recorded:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            assert description
            self._name, self._tag_keys = name, tag_keys

        def set(self, value: float, tags: dict[str, str]) -> None:
            assert tuple(tags) == self._tag_keys
            assert tags["search"] == "toy"
            found[self._name.removeprefix("raysearch_"), tags.get("trial", tags.get("status", ""))] = value

    monkeypatch.setattr("ray.util.metrics.Gauge", Recorded)
    spec, history = by_hand(tmp_path)
    history.trials[2].peak_memory_bytes = 7
    gauges = Gauges()
    gauges.begin(Run(RunDir(tmp_path), spec, history))
    gauges.update([])
    assert found == {
        ("trial_objective", "2"): 0.7,
        ("trial_iteration", "2"): 4,
        ("trial_images_per_second", "2"): 50.0,
        ("trial_peak_memory_bytes", "2"): 7,
        ("trial_iteration", "6"): 0,
        ("trials", "running"): 2,
        ("trials", "paused"): 1,
        ("trials", "waiting"): 2,
        ("trials", "completed"): 1,
        ("trials", "stopped"): 1,
        ("trials", "infeasible"): 1,
        ("trials", "failed"): 1,
        ("best_objective", ""): 0.7,
        ("default_objective", ""): 0.55,
    }
    found.clear()
    gauges.update([])
    assert not found, "within a second of the last time"
