"""The wrapper around a trainable, without Ray."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from raysearch import memory
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


class Hungry(Counting):
    def step(self) -> dict[str, Any]:
        np.empty(10**14)
        return super().step()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "ray_results"))
    return tmp_path / "trial"


def actor(folder: Path, trainable: type[Counting] = Counting, **context_values: Any) -> TrialActor:
    context = TrialContext(trainable, metric="score", mode="max", seed=0, cpu=1, gpu=0, **context_values)
    config = {"folder": str(folder), "config": {}, "title": "trial 0", "reports": []}
    return wrap(context)(config={**config, "shared_folder": str(folder.with_name("shared"))})


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


def test_a_trial_out_of_memory_says_how_much_it_lacked(folder: Path) -> None:
    report = actor(folder, Hungry, memory_bytes=10**14).step()["raysearch"]
    assert report.ending == "infeasible"
    assert report.error.startswith("out of memory: Unable to allocate 728. TiB")
    held = report.needed_memory_bytes - 728 * 2**40
    assert 1e7 < held < 1e11, "what the process held besides"
    assert report.excess == pytest.approx(report.needed_memory_bytes / 10**14 - 1)


def test_a_worker_is_named_by_its_process_and_prints_every_trial_that_it_begins(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = folder / "potatoes-1" / "trials" / "00000"
    worker = actor(trial)
    name = f"potatoes-1: worker {worker.step()['raysearch'].worker}"
    assert repr(worker) == name
    second = {"folder": str(trial.with_name("00001")), "shared_folder": "shared", "config": {}, "reports": []}
    worker.reset_config({**second, "title": "trial 1"})
    assert repr(worker) == name
    assert capsys.readouterr().out == "trial 0\ntrial 1\n"


def test_every_report_carries_the_memory_and_its_limit(folder: Path) -> None:
    report = actor(folder, share=0.5).step()["raysearch"]
    assert 1e7 < report.peak_memory_bytes < report.memory_limit_bytes == memory.limit_bytes(0, 1.0) // 2
