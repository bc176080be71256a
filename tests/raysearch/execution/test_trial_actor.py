"""Tests of the wrapper around a trainable, without Ray."""

import errno
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from raysearch.errors import Fault, InputError
from raysearch.execution import memory
from raysearch.execution.trial_actor import EVENT, TrialActor, TrialContext, wrap
from raysearch.history.events import Ended, Halted, Report
from raysearch.history.metric_names import Entry
from raysearch.space.parsing import parse_space
from tests.trainables.tiny import tiny
from trainables.contrastive_segmentation import ContrastiveSegmentation


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


class Careful(Counting):
    """A trainable that checks its data before it starts and reads them in the second step."""

    @staticmethod
    def preflight(config: dict[str, Any]) -> list[str]:
        if not Path(config["data"]).is_dir():
            raise InputError([Fault("data", f"{config['data']} is not a folder", "mount it")])
        return []

    def step(self) -> dict[str, Any]:
        if self.count == 1:
            os.listdir(self.config["data"])
        if self.count == 2:
            raise KeyError("a bug")
        return super().step()


class Unwritable(Counting):
    def save_checkpoint(self, checkpoint_dir: str) -> None:
        raise self.config["error"](checkpoint_dir)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "ray_results"))
    return tmp_path / "trial"


class WithoutContrast(ContrastiveSegmentation):
    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        self._trainer.contrast_loss = None


class Sharing(Counting):
    shared: Path | None = None

    def share_beginning(self, folder: Path, owner: str) -> None:
        self.shared = folder

    def step(self) -> dict[str, Any]:
        return {**super().step(), "shares": self.shared is not None}


def actor(
    folder: Path,
    trainable: type[tune.Trainable] = Counting,
    config: dict[str, Any] | None = None,
    *,
    metric: str = "score",
    shares: bool = True,
    reports: Sequence[Sequence[Any]] = (),
    **context_values: Any,
) -> TrialActor:
    context = TrialContext(trainable, metric=metric, mode="max", seed=0, cpu=1, gpu=0, **context_values)
    config = {"folder": str(folder), "config": config or {}, "title": "trial 0", "reports": list(reports)}
    return wrap(context)(config={**config, "shared_folder": str(folder.with_name("shared")) if shares else None})


def test_lost_data_halt_the_search_and_a_bug_does_not(folder: Path) -> None:
    data = folder.with_name("data")
    data.mkdir()
    document = {
        "name": "x",
        "trainable": f"{Path(__file__)}:Careful",
        "config": {"data": str(data)},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "objective": {"metric": "score", "mode": "max"},
        "scheduler": {"name": "none", "max_iters": 4},
    }
    spec = parse_space(document, folder.parent)
    started = actor(folder, Careful, config={"data": str(data)}, spec=spec)
    assert started.step()[EVENT].value == 1.0
    data.rename(data.with_name("away"))
    result = started.step()
    assert result["done"]
    halted = result[EVENT]
    assert isinstance(halted, Halted), "the trial is one that goes on"
    assert (halted.what, halted.fix) == (f"data: {data} is not a folder; mount it", "correct that")
    assert "FileNotFoundError" in (halted.details or "")

    data.with_name("away").rename(data)
    started = actor(folder.with_name("other"), Careful, config={"data": str(data)}, spec=spec)
    *reports, ended = [started.step()[EVENT] for _ in range(3)]
    assert all(isinstance(report, Report) for report in reports)
    assert isinstance(ended, Ended)
    assert (ended.status, ended.error) == ("failed", "KeyError: 'a bug'")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_written_halts_the_search(folder: Path, number: int) -> None:
    def error(place: str) -> OSError:
        return OSError(number, os.strerror(number), place)

    halted = actor(folder, Unwritable, config={"error": error}).step()[EVENT]
    assert isinstance(halted, Halted)
    assert os.strerror(number) in halted.what


def test_a_folder_that_takes_no_file_halts_the_search_whatever_was_raised(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, torch only says "file write failed"."""

    def error(place: str) -> RuntimeError:
        return RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    started = actor(folder, Unwritable, config={"error": error})
    monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    halted = started.step()[EVENT]
    assert isinstance(halted, Halted)
    assert (halted.what, halted.fix) == (f"{folder}: No space left", "free some disk space")
    monkeypatch.undo()
    ended = actor(folder.with_name("other"), Unwritable, config={"error": error}).step()[EVENT]
    assert isinstance(ended, Ended)
    assert ended.status == "failed"


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_is_on_the_disk_before_the_search_hears_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, fsync, rename = actor(folder), os.fsync, os.rename
    calls: list[str | Path] = []

    def noted_sync(file: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{file}")))
        fsync(file)

    def noted_rename(path: Path, target: Path) -> None:
        calls.append("rename")
        rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    name = started.step()["raysearch"].checkpoint
    part = folder / f".{name}.part"
    assert calls[-3:] == [part, "rename", folder]
    assert set(calls[:-3]) == {part / file.name for file in (folder / name).iterdir()}


class Falling(Counting):
    """A trainable whose first report stays the best."""

    def step(self) -> dict[str, Any]:
        return {"score": -super().step()["score"]}


def test_the_best_checkpoint_and_the_last_ones_are_kept(folder: Path) -> None:
    started = actor(folder, Falling)
    for _ in range(4):
        started.step()
    assert checkpoints(folder) == [f"checkpoint-{iteration:08d}" for iteration in (1, 3, 4)], "best, known, newest"


def test_a_second_actor_that_is_set_up_late_deletes_nothing(folder: Path) -> None:
    """Ray may give a trial to a free actor while the trial's own one is starting."""
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
    report = actor(folder, Hungry, memory_bytes=10**14).step()[EVENT]
    assert report.status == "infeasible"
    assert report.error.startswith("out of memory: Unable to allocate 728. TiB")
    held = report.needed_memory_bytes - 728 * 2**40
    assert 1e7 < held < 1e11, "what the process held besides"
    assert report.excess == pytest.approx(report.needed_memory_bytes / 10**14 - 1)


def test_a_worker_is_named_by_its_process_and_prints_every_trial_that_it_begins(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = folder / "potatoes-1" / "trials" / "00000"
    worker = actor(trial)
    name = f"potatoes-1: worker {worker.step()[EVENT].worker}"
    assert repr(worker) == name
    second = {"folder": str(trial.with_name("00001")), "shared_folder": "shared", "config": {}, "reports": []}
    worker.reset_config({**second, "title": "trial 1"})
    assert repr(worker) == name
    assert capsys.readouterr().out == "trial 0\ntrial 1\n"


class Growing(Counting):
    """A trainable that allocates 100 MB in its second step and frees them before the report."""

    def step(self) -> dict[str, Any]:
        held = np.ones(10**8 // 8) if self.count == 1 else None
        del held
        return super().step()


class GrowingInSetup(Counting):
    def setup(self, config: dict[str, Any]) -> None:
        self.held = np.ones(10**8 // 8)
        super().setup(config)


def resident_bytes() -> int:
    memory.release()
    memory.reset_peak()
    held = memory.peak_bytes()
    assert held is not None
    return held


def test_a_trial_that_takes_more_than_the_space_file_allows_is_infeasible(folder: Path) -> None:
    """The limit counts even if the system has the memory and it was freed before the report."""
    limit = resident_bytes() + 50 * 2**20
    growing = actor(folder, Growing, memory_bytes=limit)
    first, second = (growing.step()[EVENT] for _ in range(2))
    assert isinstance(first, Report)
    assert first.value == 1.0
    assert isinstance(second, Ended)
    assert second.status == "infeasible"
    assert second.needed_memory_bytes is not None
    assert second.peak_memory_bytes == second.needed_memory_bytes > limit
    assert second.excess == pytest.approx(second.needed_memory_bytes / limit - 1)
    told = f"it used {second.needed_memory_bytes / 2**30:.3f} GB of memory"
    assert second.error == f"{told}, but resources.memory_gb allows {limit / 2**30:.3f} GB"
    assert isinstance(actor(folder, Growing, memory_bytes=2 * limit).step()[EVENT], Report)


def test_so_is_one_that_takes_it_before_its_first_report(folder: Path) -> None:
    limit = resident_bytes() + 50 * 2**20
    ended = actor(folder, GrowingInSetup, memory_bytes=limit).step()[EVENT]
    assert isinstance(ended, Ended)
    assert ended.status == "infeasible"
    assert (ended.needed_memory_bytes or 0) > limit


def test_the_memory_of_one_trial_is_not_counted_as_the_next_ones(folder: Path) -> None:
    limit = resident_bytes() + 50 * 2**20
    reused = actor(folder, GrowingInSetup, memory_bytes=limit)
    assert reused.step()[EVENT].status == "infeasible"
    config = {"folder": str(folder), "config": {}, "title": "trial 1", "reports": [], "shared_folder": str(folder)}
    reused.context = TrialContext(Counting, "score", "max", seed=0, cpu=1, gpu=0, memory_bytes=limit)  # type: ignore[misc]
    reused.reset_config(config)
    assert isinstance(reused.step()[EVENT], Report)


def test_a_gpu_is_capped_before_the_trial_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(memory, "cap_gpu", lambda *given: called.append(given))
    context = TrialContext(Counting, "score", "max", seed=0, cpu=1, gpu=1, memory_bytes=2**34)
    config = {"folder": str(folder), "config": {}, "title": "trial 0", "reports": [], "shared_folder": str(folder)}
    wrap(context)(config=config)
    actor(folder, memory_bytes=2**34)
    assert called == [(1, 2**34)], "a trial without a GPU has none to be capped"


class ByClass(Counting):
    def step(self) -> dict[str, Any]:
        return {**super().step(), "iou": np.array([0.5, 0.25 * self.count, float("nan")])}


def test_an_entry_of_a_reported_list_is_a_metric_like_any_other(folder: Path) -> None:
    entries = {"iou.road": Entry("iou", 1), "iou.sky": Entry("iou", 2)}
    context = TrialContext(ByClass, "iou.road", "max", seed=0, cpu=1, gpu=0, entries=entries)
    config = {"folder": str(folder), "config": {}, "title": "trial 0", "reports": [], "shared_folder": str(folder)}
    report = wrap(context)(config=config).step()[EVENT]
    assert isinstance(report, Report)
    assert report.value == 0.25
    assert "iou.road" not in report.metrics
    assert report.metrics["score"] == 1.0
    assert report.metrics["iou"][:2] == [0.5, 0.25]
    assert math.isnan(report.metrics["iou.sky"]), "a further objective: the search ends the trial by it"


def test_every_report_carries_the_memory_and_its_limit(folder: Path) -> None:
    report = actor(folder, share=0.5).step()[EVENT]
    assert 1e7 < report.peak_memory_bytes < report.memory_limit_bytes == memory.limit_bytes(0, 1.0) // 2


@pytest.mark.parametrize("shares", [True, False])
def test_a_beginning_is_shared_where_another_trial_may_have_it(folder: Path, shares: bool) -> None:
    assert actor(folder, Sharing, shares=shares).step()[EVENT].metrics["shares"] is shares


def test_a_trainer_that_drops_its_contrast_fails(folder: Path) -> None:
    config = tiny().model_dump(mode="json")
    report = actor(folder, WithoutContrast, metric="miou", config=config).step()[EVENT]
    assert report.status == "failed"
    assert report.error.endswith("another config than the given one: contrast.loss_weight: given 0.1, used 0.0")


def damage(checkpoint: Path, how: str) -> None:
    count = checkpoint / "count"
    match how:
        case "changed":
            count.write_text("7")
        case "cut":
            count.write_text("")
        case "emptied":
            for path in checkpoint.iterdir():
                path.unlink()
        case "gone":
            shutil.rmtree(checkpoint)


@pytest.mark.parametrize("how", ["changed", "cut", "emptied", "gone"])
def test_a_trial_continues_from_the_checkpoint_before_a_damaged_one(
    folder: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = actor(folder)
    reports = [first.step()[EVENT] for _ in range(2)]
    first.cleanup()
    told = [[report.iteration, report.value, report.checkpoint] for report in reports]
    damage(folder / reports[1].checkpoint, how)
    assert actor(folder, reports=told).step()[EVENT].value == 2.0, "the second report, again"
    said = f"{folder / reports[1].checkpoint} "
    assert (said in capsys.readouterr().out) == (how != "gone")

    for report in reports:
        damage(folder / report.checkpoint, how)
    assert actor(folder, reports=told).step()[EVENT].value == 1.0, "from the start"
