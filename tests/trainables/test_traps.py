"""Tests for faults of the original trainer across its parts: each check passes here and detects the old behaviour."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.openseg.files import street
from tests.trainables.tiny import differing, remaining_reports, state_of, tiny
from trainables.losses import contrast as contrast_term
from trainables.losses.anchor_sampling import sample_anchors
from trainables.openseg import reader
from trainables.protocol import DialectReading
from trainables.trainer import Trainer

CONTRAST_ON = {"contrast.memory": True, "contrast.memory_size": 8, "contrast.pixel_update_freq": 2}


def contrast_reaches_the_network(folder: Path) -> None:
    """Check that in a single process, too, the projection head learns from the first iteration on."""
    for report in remaining_reports(Trainer(tiny())):
        assert report["contrast_active"]
        assert report["loss_contrast"] > 0.0
        assert report["contrast_grad_norm"] > 0.0


def a_resumed_training_is_the_uninterrupted_one(folder: Path) -> None:
    """Check this with the contrast loss, its memory and its draws."""
    straight, cut, resumed = (Trainer(tiny(CONTRAST_ON)) for _ in range(3))
    cut.run_to_report()
    cut.save(folder / "checkpoint")
    resumed.load(folder / "checkpoint")
    assert remaining_reports(straight)[1:] == remaining_reports(resumed)
    assert not differing(state_of(straight), state_of(resumed))


def images_of_256_pixels_train_at_stride_8(folder: Path) -> None:
    """Check this for groups of any size: here every class is smaller than `max_views`."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for i in range(4):
            label = np.full((256, 256), 255, np.uint8)
            label[16 * i : 16 * i + 64, 64:128] = i % 2
            label[16 * i : 16 * i + 64, 128:192] = 2
            for part, pixels in (("image", rng.integers(0, 256, (256, 256, 3), np.uint8)), ("label", label)):
                path = folder / split / part / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    config = {
        "data.dir": str(folder),
        "data.label_class_ids": [0, 1, 2],
        "data.augmentation.crop_size": [256, 256],
        "data.augmentation.scale": [1.0, 1.0],
        "model.head": "deeplab_v3",
        "model.backbone": "test_resnet",
        "contrast.max_views": 100,
        "contrast.memory": True,
    }
    reports = remaining_reports(Trainer(tiny(config)))
    assert [report["iteration"] for report in reports] == [2, 4, 6]
    assert all(np.isfinite(report["loss"]) for report in reports)
    assert any(report["num_anchors"] for report in reports)


def memory_that_is_switched_off_is_off(folder: Path) -> None:
    """Check that `with_memory: false` in a file of the original has an effect."""
    for stated in (True, False):
        document = street(**{"network.model_name": "hrnet_w48_mem", "contrast.with_memory": stated})
        assert reader.read_openseg(document, "F.json").values["contrast"]["memory"] is stated


def presence_of_the_key_switches_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask whether `with_memory` is present and ignore its value, as the original does."""
    read = reader.read_openseg

    def by_presence(document: dict[str, Any], source: str) -> DialectReading:
        contrast = document["contrast"]
        return read({**document, "contrast": {**contrast, "with_memory": "with_memory" in contrast}}, source)

    monkeypatch.setattr(reader, "read_openseg", by_presence)


def never_asks_for_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never ask for embeddings, as the original does outside distributed runs."""
    monkeypatch.setattr(Trainer, "_contrast_active", lambda self, iteration: False)


def resumes_without_the_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resume a training with the contrast loss as one with cross entropy, as the original does."""
    load = Trainer.load

    def without_contrast(self: Trainer, folder: Path) -> None:
        load(self, folder)
        self.contrast_loss = None

    monkeypatch.setattr(Trainer, "load", without_contrast)


def groups_above_max_views_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only use groups of more than `max_views` pixels, as the original does; it returns nothing if there are none."""

    def sample(config: Any, labels: Any, predictions: Any, generator: torch.Generator) -> Any:
        larger = config.model_copy(update={"min_pixels": config.max_views + 1})
        anchors = sample_anchors(larger, labels, predictions, generator)
        return anchors if anchors.num_groups else None

    monkeypatch.setattr(contrast_term, "sample_anchors", sample)


TRAPS: dict[str, tuple[Callable[[Path], None], Callable[[pytest.MonkeyPatch], None]]] = {
    "with_memory: false": (memory_that_is_switched_off_is_off, presence_of_the_key_switches_it_on),
    "single process": (contrast_reaches_the_network, never_asks_for_embeddings),
    "resume": (a_resumed_training_is_the_uninterrupted_one, resumes_without_the_contrast),
    "256 pixels": (images_of_256_pixels_train_at_stride_8, groups_above_max_views_alone),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_ours_does_not_fall_into_it(trap: str, tmp_path: Path) -> None:
    check, _ = TRAPS[trap]
    check(tmp_path)


@pytest.mark.parametrize("trap", TRAPS)
def test_the_old_behaviour_is_caught(trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, fall_into = TRAPS[trap]
    fall_into(monkeypatch)
    with pytest.raises((AssertionError, AttributeError)):
        check(tmp_path)
