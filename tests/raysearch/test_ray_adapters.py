"""The wrapper around a trainable, without Ray."""

from pathlib import Path
from typing import Any

import pytest
from ray import tune

from raysearch.ray_adapters import TrialActor, TrialContext, wrap


class Counting(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.count = 0

    def step(self) -> dict[str, Any]:
        self.count += 1
        return {"score": float(self.count)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "count").write_text(str(self.count))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.count = int((Path(checkpoint) / "count").read_text())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "ray_results"))
    return tmp_path / "trial"


def actor(folder: Path) -> TrialActor:
    context = TrialContext(trainable=Counting, metric="score", mode="max", seed=0, cpu=1, gpu=0)
    return wrap(context)(config={"folder": str(folder), "config": {}, "title": "trial 0", "reports": []})


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_actor_that_is_set_up_late_deletes_nothing(folder: Path) -> None:
    """Ray may hand a trial to a freed actor while the trial's own one is starting."""
    first = actor(folder)
    first.step()
    first.step()
    written = checkpoints(folder)
    assert written
    late = actor(folder)
    assert checkpoints(folder) == written
    late.cleanup()
    assert checkpoints(folder) == written


def test_what_an_interrupted_report_left_behind_goes_with_the_first_step(folder: Path) -> None:
    (folder / "unreported").mkdir(parents=True)
    started = actor(folder)
    started.step()
    assert checkpoints(folder)
    assert "unreported" not in checkpoints(folder)
