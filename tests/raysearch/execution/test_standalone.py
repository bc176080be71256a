import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from raysearch.config.shipped import FOLDER
from raysearch.config.trainable_loading import LoadedTrainable, load_trainable
from raysearch.errors import InputError
from raysearch.execution import standalone
from tests.raysearch.ours import OURS, quiet, score, train
from tests.trainables.tiny import comparable, differing, tiny
from trainables.config import Config
from trainables.data import draw_split
from trainables.prediction import predict_folder, score_label_images
from trainables.trainer import Trainer

VALUES = {"contrast.memory": True, "model.dropout": 0.4, "train.report_iters": 1, "train.max_iters": 4}
CONFIG = tiny(VALUES)


class KilledError(BaseException):
    """A stand-in for a kill, which no code may catch."""


def unseen(done: int, total: int) -> None:
    """Watch no progress."""


def rows(out: Path) -> list[dict[str, Any]]:
    return [comparable(row) for row in pq.read_table(out / "results.parquet").to_pylist()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(out / "checkpoint" / "model.pt", weights_only=True)
    return loaded


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def assert_same_training(out: Path, reference: Path) -> None:
    assert rows(out) == rows(reference)
    assert not differing(weights(out), weights(reference))
    assert (out / "config.json").read_text() == (reference / "config.json").read_text()
    assert names(out) == names(reference)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a completed training."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "new" / "out"
    train(CONFIG, out, say=quiet)
    return out


class TestTrain:
    def test_writes_config_table_and_checkpoint_and_nothing_else(self, trained: Path) -> None:
        assert names(trained) == {"config.json", "results.parquet", "results.csv", "checkpoint"}
        assert Config.model_validate_json((trained / "config.json").read_text()) == CONFIG
        assert Config.model_validate_json((trained / "checkpoint" / "config.json").read_text()) == CONFIG
        table = rows(trained)
        assert [(row["trial"], row["iteration"]) for row in table] == [(0, t) for t in (1, 2, 3, 4)]

    def test_the_table_holds_the_reports(self, trained: Path) -> None:
        trainer = Trainer(CONFIG)
        for row in rows(trained):
            report = comparable(trainer.run_to_report())
            assert row == {"trial": 0, "value": report.pop("miou"), **report}

    @pytest.mark.parametrize("metric", ["miou", "pixel_accuracy", "loss", "iou.0"])
    def test_returns_and_says_the_last_value_of_the_metric(self, metric: str, tmp_path: Path) -> None:
        said: list[str] = []
        value = train(tiny({"train.report_iters": 3}), tmp_path, metric=metric, say=said.append)
        table = pq.read_table(tmp_path / "results.parquet").to_pylist()
        assert table[-1]["value"] == value
        assert metric not in table[-1]
        if metric == "iou.0":
            assert value == table[-1]["iou"][0]
        iterations = [line for line in said if not line.startswith("note: ")]
        assert iterations == [f"iteration {row['iteration']}/6  {metric} {row['value']:.4f}" for row in table]
        assert any("class weights are recommended" in line for line in said)

    def test_a_finished_training_is_not_trained_again(self, trained: Path, tmp_path: Path) -> None:
        out = Path(shutil.copytree(trained, tmp_path / "out"))
        said: list[str] = []
        value = train(CONFIG, out, say=said.append)
        assert value == rows(trained)[-1]["value"]
        assert said[-1] == "continuing at iteration 4"
        assert_same_training(out, trained)

    def test_a_diverging_training_ends_in_the_error_of_its_iteration(self, tmp_path: Path) -> None:
        with pytest.raises(FloatingPointError, match="at iteration 2"):
            train(tiny({"optim.lr": 1e30}), tmp_path, say=quiet)


def kill_after_a_report(patch: pytest.MonkeyPatch, k: int) -> Callable[[str], None]:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if sum(spoken.startswith("iteration") for spoken in said) == k:
            raise KilledError

    return say


def kill_before_the_table(patch: pytest.MonkeyPatch, k: int) -> Callable[[str], None]:
    _kill_at_call(patch, standalone, "write_reports", k, before=True)
    return quiet


def kill_after_the_table(patch: pytest.MonkeyPatch, k: int) -> Callable[[str], None]:
    _kill_at_call(patch, standalone, "write_reports", k, before=False)
    return quiet


def kill_within_a_save(patch: pytest.MonkeyPatch, k: int) -> Callable[[str], None]:
    # A checkpoint has three files; the second tensor file is not written yet.
    _kill_at_call(patch, torch, "save", 2 * k, before=True)
    return quiet


def kill_after_a_save(patch: pytest.MonkeyPatch, k: int) -> Callable[[str], None]:
    _kill_at_call(patch, Trainer, "save", k, before=False)
    return quiet


def kill_between_the_renames(patch: pytest.MonkeyPatch, k: int) -> Callable[[str], None]:
    # The first save renames once, every later one twice: the old folder away and the new one into place.
    _kill_at_call(patch, Path, "rename", 2 * k - 1, before=True)
    return quiet


def kill_before_the_old_checkpoint_goes(patch: pytest.MonkeyPatch, k: int) -> Callable[[str], None]:
    _kill_at_call(patch, Path, "rename", 2 * k - 1, before=False)
    return quiet


def _kill_at_call(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int, *, before: bool) -> None:
    original, calls = getattr(owner, name), []

    def dying(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number and before:
            raise KilledError
        result = original(*args, **options)
        if len(calls) == number:
            raise KilledError
        return result

    patch.setattr(owner, name, dying)


class TestKilled:
    @pytest.mark.parametrize("k", [1, 2, 4])
    @pytest.mark.parametrize(
        "kill",
        [
            kill_after_a_report,
            kill_before_the_table,
            kill_after_the_table,
            kill_within_a_save,
            kill_after_a_save,
            kill_between_the_renames,
            kill_before_the_old_checkpoint_goes,
        ],
        ids=lambda kill: kill.__name__,
    )
    def test_and_called_again_it_ends_as_if_it_had_never_stopped(
        self,
        kill: Callable[[pytest.MonkeyPatch, int], Callable[[str], None]],
        k: int,
        trained: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            train(CONFIG, tmp_path, say=kill(patch, k))
        said: list[str] = []
        train(CONFIG, tmp_path, say=said.append)
        finished = k if kill in (kill_after_a_report, kill_before_the_old_checkpoint_goes) else k - 1
        assert len([line for line in said if line.startswith("iteration")]) == 4 - finished
        assert_same_training(tmp_path, trained)

    def test_twice_at_the_same_place(self, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for k in (3, 1):
            with monkeypatch.context() as patch, pytest.raises(KilledError):
                train(CONFIG, tmp_path, say=kill_between_the_renames(patch, k))
        train(CONFIG, tmp_path, say=quiet)
        assert_same_training(tmp_path, trained)

    def test_while_it_writes_its_config(self, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            _kill_at_call(patch, os, "replace", 1, before=True)
            with pytest.raises(KilledError):
                train(CONFIG, tmp_path, say=quiet)
        train(CONFIG, tmp_path, say=quiet)
        assert_same_training(tmp_path, trained)


class TestOccupiedFolder:
    def test_another_config_is_refused_and_nothing_touched(self, trained: Path, tmp_path: Path) -> None:
        out = Path(shutil.copytree(trained, tmp_path / "out"))
        with pytest.raises(InputError, match="holds the training of another config; give another --out"):
            train(tiny({**VALUES, "optim.lr": 0.02}), out, say=quiet)
        assert_same_training(out, trained)

    @pytest.mark.parametrize("kept", ["results.parquet", "checkpoint"])
    def test_results_of_something_else_are_refused_and_kept(self, kept: str, trained: Path, tmp_path: Path) -> None:
        out = Path(shutil.copytree(trained, tmp_path / "out"))
        for path in out.iterdir():
            if path.name != kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(InputError, match="holds other results; give another --out"):
            train(CONFIG, out, say=quiet)
        assert names(out) == {kept}

    def test_a_folder_with_other_things_in_it_is_used(self, trained: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        train(CONFIG, tmp_path, say=quiet)
        assert rows(tmp_path) == rows(trained)
        assert (tmp_path / "notes.txt").read_text() == "mine"


FUNCTION = """
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from ray import tune

def train(config):
    start, checkpoint = 0, tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            start = json.loads(Path(folder, "state.json").read_text())
    for step in range(start, 4):
        with TemporaryDirectory() as folder:
            Path(folder, "state.json").write_text(json.dumps(step + 1))
            tune.report({"loss": config["rate"] * step}, checkpoint=tune.Checkpoint.from_directory(folder))
"""


class TestOtherTrainables:
    """Any class or function is trained alike; one without a config model takes a mapping."""

    @pytest.fixture
    def other(self, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LoadedTrainable, dict[str, Any]]:
        if request.param == "class":
            config = {"rate": 0.1, "method": "plain", "slope": 0.05}
            return load_trainable("quadratic_trainable.py:Quadratic", FOLDER), config
        (tmp_path / "f.py").write_text(FUNCTION)
        return load_trainable("f.py:train", tmp_path), {"rate": 0.5}

    @pytest.mark.parametrize("other", ["class", "function"], indirect=True)
    def test_it_is_trained_to_the_budget_and_after_a_kill_as_if_it_had_never_stopped(
        self, other: tuple[LoadedTrainable, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainable, config = other

        def trained(out: Path, say: Callable[[str], None] = quiet) -> list[dict[str, Any]]:
            value = standalone.train(trainable, config, out, metric="loss", max_iters=4, say=say)
            table: list[dict[str, Any]] = pq.read_table(out / "results.parquet").to_pylist()
            assert [row["iteration"] for row in table] == [1, 2, 3, 4]
            assert table[-1]["value"] == value
            return table

        whole = trained(tmp_path / "whole")
        for kill in (kill_after_a_report, kill_before_the_table, kill_after_the_table):
            out = tmp_path / kill.__name__
            with monkeypatch.context() as patch, pytest.raises(KilledError):
                trained(out, kill(patch, 2))
            assert trained(out) == whole
        written = json.loads((tmp_path / "whole" / "config.json").read_text())
        assert written == {**config, "raysearch": {"trainable": trainable.name}}

    def test_a_metric_that_is_not_reported_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "f.py").write_text(FUNCTION)
        function = load_trainable("f.py:train", tmp_path)
        with pytest.raises(InputError, match=r"accuracy: is not reported; the trainable only reports loss"):
            standalone.train(function, {"rate": 0.5}, tmp_path / "out", metric="accuracy")

    def test_without_evaluate_nothing_is_scored(self, tmp_path: Path) -> None:
        (tmp_path / "f.py").write_text(FUNCTION)
        with pytest.raises(InputError, match="has no evaluate, so it cannot score a checkpoint"):
            standalone.evaluate(load_trainable("f.py:train", tmp_path), {}, tmp_path)


def write_split(folder: Path, config: Config, split: str) -> None:
    for i, (image, label) in enumerate(zip(*draw_split(config.data.drawn, split), strict=True)):
        for part, pixels in (("image", image), ("label", label)):
            (folder / split / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / split / part / f"{i}.png")


class TestScore:
    def test_equals_the_last_report_exactly(self, trained: Path) -> None:
        last = rows(trained)[-1]
        confusion = score(CONFIG, trained / "checkpoint")
        assert float(confusion.miou()) == last["value"]
        assert float(confusion.pixel_accuracy()) == last["pixel_accuracy"]
        assert [None if np.isnan(iou) else iou for iou in confusion.iou()] == last["iou"]

    @pytest.mark.parametrize(
        "values", [{"evaluation.mode": "mscrop", "evaluation.flip": True}, {"train.precision": "bf16"}], ids=str
    )
    def test_equals_the_report_of_the_same_evaluation(self, values: dict[str, Any], tmp_path: Path) -> None:
        config = tiny({**values, "contrast.loss_weight": 0.0, "train.num_threads": 1})
        value = train(config, tmp_path, say=quiet)
        assert float(score(config, tmp_path / "checkpoint").miou()) == value

    def test_scores_all_images_whatever_the_reports_score(self, trained: Path) -> None:
        few = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"num_images": 1})})
        confusion = score(few, trained / "checkpoint")
        assert float(confusion.miou()) == rows(trained)[-1]["value"]

    def test_another_split_and_another_folder(self, trained: Path, tmp_path: Path) -> None:
        for split in ("val", "test"):
            write_split(tmp_path, CONFIG, split)
        checkpoint = trained / "checkpoint"
        counts = {
            (split, folder): score(CONFIG, checkpoint, split=split, folder=folder).counts
            for split in ("val", "test")
            for folder in (None, tmp_path)
        }
        for split in ("val", "test"):
            assert (counts[split, None] == counts[split, tmp_path]).all()
        assert (counts["val", None] != counts["test", None]).any()

    def test_the_number_of_threads_is_that_of_the_config(self, trained: Path) -> None:
        score(tiny({**VALUES, "train.num_threads": 2}), trained / "checkpoint")
        assert torch.get_num_threads() == 2

    def test_the_weights_that_the_training_began_with_may_be_gone(self, trained: Path) -> None:
        config = tiny({**VALUES, "model.weights": "/nowhere/any.pth"})
        assert float(score(config, trained / "checkpoint").miou()) == rows(trained)[-1]["value"]

    def test_a_split_that_is_not_there_is_wrong_input(self, trained: Path, tmp_path: Path) -> None:
        write_split(tmp_path, CONFIG, "val")
        with pytest.raises(InputError, match="test"):
            score(CONFIG, trained / "checkpoint", split="test", folder=tmp_path)


def write_pairs(folder: Path, split: str, *labels: np.ndarray) -> Path:
    """Write a split of random images with these labels."""
    for i, label in enumerate(labels):
        image = np.random.default_rng(i).integers(0, 256, (*label.shape, 3)).astype(np.uint8)
        for part, pixels in (("image", image), ("label", label.astype(np.uint8))):
            (folder / split / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / split / part / f"{i}.png")
    return folder


class TestSecondDataset:
    """A dataset that the network was not trained on; windows have the size of the training crop, 32 x 32."""

    @pytest.mark.parametrize("mode", ["ss", "ms", "sscrop", "mscrop"])
    @pytest.mark.parametrize("split", ["val", "test"])
    def test_smaller_than_the_crop_and_of_all_sizes(self, split: str, mode: str, trained: Path, tmp_path: Path) -> None:
        labels = [np.full(size, 74) for size in ((1, 1), (9, 70), (31, 20), (33, 32), (70, 9))]
        confusion = score(
            tiny({**VALUES, "evaluation.mode": mode, "evaluation.scales": [0.5, 1.0]}),
            trained / "checkpoint",
            split=split,
            folder=write_pairs(tmp_path, split, *labels),
            say=quiet,
        )
        assert confusion.counts.sum(axis=1).tolist() == [0, sum(label.size for label in labels), 0, 0]

    def test_absent_classes_and_unlisted_values_are_said_and_do_not_count(self, trained: Path, tmp_path: Path) -> None:
        said: list[str] = []
        label = np.zeros((40, 40))
        label[:3], label[3, :5], label[9] = 128, 7, 255
        folder = write_pairs(tmp_path, "val", label)
        confusion = score(CONFIG, trained / "checkpoint", folder=folder, say=said.append)
        assert confusion.counts.sum(axis=1).tolist() == [1600 - 120 - 5 - 40, 0, 120, 0]
        file = folder / "val" / "label" / "0.png"
        assert said == [
            f"note: val: label value 7 is not in label_class_ids and is ignored: 5 pixels, first in {file}",
            "note: val: class 1 (raw value 74) has no pixels; it does not count in the mean IoU unless it is predicted",
            "note: val: class 3 (raw value 145) has no pixels; it does not count in the mean IoU unless it is "
            "predicted",
        ]
        predicted = confusion.counts.sum(axis=0) > 0
        for k in (1, 3):  # a class absent from the labels only counts if the network predicts it
            assert confusion.iou()[k] == 0.0 if predicted[k] else np.isnan(confusion.iou()[k])

    def test_with_other_label_values_is_wrong_input_not_a_score_of_nothing(self, trained: Path, tmp_path: Path) -> None:
        folder = write_pairs(tmp_path, "val", np.full((9, 9), 3))
        with pytest.raises(InputError, match=r"no label contains a pixel of any class.*the labels contain 3"):
            score(CONFIG, trained / "checkpoint", folder=folder, say=quiet)


class TestPredict:
    @pytest.mark.parametrize("ids", ["raw", "contiguous"])
    @pytest.mark.parametrize("mode", ["ss", "ms", "sscrop", "mscrop"])
    def test_scored_again_it_equals_the_evaluation_exactly(
        self, mode: str, ids: Any, trained: Path, tmp_path: Path
    ) -> None:
        config = tiny({**VALUES, "evaluation.mode": mode, "evaluation.flip": True, "evaluation.scales": [0.5, 1.0]})
        write_split(tmp_path, config, "val")
        image, label = np.full((41, 23, 3), 90, np.uint8), np.full((41, 23), 128, np.uint8)  # another size
        Image.fromarray(image).save(tmp_path / "val" / "image" / "10.png")
        Image.fromarray(label).save(tmp_path / "val" / "label" / "10.png")
        out, calls = tmp_path / "new" / "out", []
        number = predict_folder(
            config,
            trained / "checkpoint",
            tmp_path / "val" / "image",
            out,
            ids=ids,
            progress=lambda done, total: calls.append((done, total)),
        )
        assert number == 5
        assert calls == [(done, 5) for done in range(1, 6)]
        expected = score(config, trained / "checkpoint", folder=tmp_path, say=quiet)
        scored = score_label_images(out, tmp_path / "val" / "label", config.data, ids)
        np.testing.assert_array_equal(scored.confusion.counts, expected.counts)
        assert scored.confusion.miou() == expected.miou()

    def test_a_taken_folder_an_unfit_checkpoint_and_unreadable_images_leave_nothing(
        self, trained: Path, tmp_path: Path
    ) -> None:
        write_split(tmp_path, CONFIG, "val")
        images, checkpoint = tmp_path / "val" / "image", trained / "checkpoint"
        taken = tmp_path / "taken"
        taken.mkdir()
        (taken / "mine.txt").write_text("mine")
        for out, what in (
            (taken, "is not empty"),
            (images, "which is never changed"),
            (taken / "mine.txt", "is a file"),
        ):
            with pytest.raises(InputError, match=what):
                predict_folder(CONFIG, checkpoint, images, out, progress=unseen)
        with pytest.raises(InputError, match=r"holds no model\.pt; give the folder of a checkpoint"):
            predict_folder(CONFIG, trained, images, tmp_path / "out", progress=unseen)
        (images / "bad.png").touch()
        (images / "worse.png").write_text("no image")
        with pytest.raises(InputError) as caught:
            predict_folder(CONFIG, checkpoint, images, tmp_path / "out", progress=unseen)
        assert [fault.what for fault in caught.value.faults] == [
            "is empty (0 bytes)",
            "is not an image that can be read",
        ]
        assert names(tmp_path) == {"val", "taken"}
        assert names(taken) == {"mine.txt"}


class TestUnfitCheckpoint:
    @pytest.mark.parametrize(
        ("values", "tensor"),
        [
            ({"model.head_channels": 4}, "head.0.weight"),
            ({"data.label_class_ids": [0, 74]}, "head.4.weight"),
            ({"contrast.loss_weight": 0.0}, "projection.layers.0.weight"),
            ({"contrast.proj_dim": 4}, "projection.layers.3.weight"),
            ({"model.backbone": "test_convnext"}, "backbone.network."),
        ],
    )
    def test_of_another_network_is_named(self, values: dict[str, Any], tensor: str, trained: Path) -> None:
        with pytest.raises(InputError) as caught:
            score(tiny({**VALUES, **values}), trained / "checkpoint")
        message = str(caught.value)
        assert message.startswith(f"{trained / 'checkpoint' / 'model.pt'}: does not fit the config: ")
        assert f", such as {tensor}" in message
        assert "\n" not in message

    def test_without_weights_is_named(self, trained: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"is the folder of a training, .* is needed here; give .*/checkpoint"):
            standalone.evaluate(OURS, CONFIG, trained)
        with pytest.raises(InputError, match=r"holds no model\.pt; give the folder of a checkpoint"):
            score(CONFIG, tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut off"])
    def test_that_cannot_be_read_is_named(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"model\.pt: cannot be read as weights"):
            score(CONFIG, tmp_path)
