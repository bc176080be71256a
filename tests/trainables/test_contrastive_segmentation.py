import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.tiny import comparable, differing, remaining_reports, state_of, tiny
from trainables.config import Config
from trainables.contrastive_segmentation import ContrastiveSegmentation
from trainables.errors import InputError
from trainables.protocol import (
    CONFIG_USED,
    ITERATION,
    ITERATIONS_SHARED,
    ChecksSplit,
    DeclaresConfig,
    DeclaresMetrics,
    Evaluates,
    HasPreflight,
)
from trainables.trainer import METRICS, Trainer


@pytest.fixture(autouse=True)
def _ray_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the folder that Tune creates for every trainable out of the home of the user who runs the tests."""
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "ray_results"))


def trainable(config: Config) -> ContrastiveSegmentation:
    return ContrastiveSegmentation(config=config.model_dump(mode="json"))


def test_it_declares_all_that_a_search_can_check() -> None:
    for capability in (DeclaresConfig, DeclaresMetrics, HasPreflight, Evaluates, ChecksSplit):
        assert isinstance(ContrastiveSegmentation, capability)
    assert ContrastiveSegmentation.Config is Config
    assert ContrastiveSegmentation.METRICS == METRICS


def test_its_reports_are_those_of_the_trainer() -> None:
    config = tiny({"contrast.memory": True})
    running = trainable(config)
    steps = [running.step() for _ in range(3)]
    assert [step.pop("done") for step in steps] == [False, False, True]
    assert [step.pop(CONFIG_USED) for step in steps] == [config.model_dump(mode="json")] * 3
    assert [step.pop(ITERATIONS_SHARED) for step in steps] == [0, 0, 0]
    assert [step[ITERATION] for step in steps] == [2, 4, 6]
    assert all(step.keys() >= METRICS for step in steps)
    assert [comparable(step) for step in steps] == remaining_reports(Trainer(config))


def test_evaluate_scores_a_checkpoint_as_the_trainer_scored_it(tmp_path: Path) -> None:
    config = tiny({"train.max_iters": 2})
    running = trainable(config)
    report = running.step()
    running.save_checkpoint(str(tmp_path))
    seen: list[tuple[int, int]] = []
    scores = ContrastiveSegmentation.evaluate(config, tmp_path, "val", lambda done, total: seen.append((done, total)))
    assert scores.keys() == ContrastiveSegmentation.EVALUATED | {"iou"}
    assert [scores["miou"], scores["pixel_accuracy"]] == [report["miou"], report["pixel_accuracy"]]
    np.testing.assert_array_equal(scores["iou"], report["iou"])
    assert seen[-1] == (config.data.drawn.num_val, config.data.drawn.num_val)


def test_a_split_is_checked_without_a_training(tmp_path: Path) -> None:
    config = tiny()
    assert ContrastiveSegmentation.check_split(config, "val") == []
    missing = config.model_copy(update={"data": config.data.model_copy(update={"dir": str(tmp_path)})})
    with pytest.raises(InputError, match="test"):
        ContrastiveSegmentation.check_split(missing, "test")


def test_tune_sees_the_report_and_its_end() -> None:
    running = trainable(tiny({"train.report_iters": 3}))
    first, last = running.train(), running.train()
    assert (first["done"], last["done"]) == (False, True)
    assert (first["training_iteration"], first["iteration"], last["iteration"]) == (1, 3, 6)


def test_a_checkpoint_takes_another_trainable_to_the_same_end(tmp_path: Path) -> None:
    config = tiny({"contrast.memory": True, "model.dropout": 0.4})
    running = trainable(config)
    running.step()
    assert running.save_checkpoint(str(tmp_path)) is None, "Tune takes a returned dictionary for the checkpoint"
    other = trainable(config)
    other.load_checkpoint(str(tmp_path))
    assert remaining_reports(running._trainer) == remaining_reports(other._trainer)
    assert not differing(state_of(running._trainer), state_of(other._trainer))


def test_a_trial_after_another_reuses_its_network_and_equals_a_fresh_one() -> None:
    gc.collect()  # a trainer of another test that raised an exception may still hold the network
    earlier = trainable(tiny({"contrast.temperature": 0.5}))
    earlier.step()
    network = earlier._trainer.network
    del earlier
    gc.collect()
    later = trainable(tiny())
    assert later._trainer.network is network
    assert remaining_reports(later._trainer) == remaining_reports(Trainer(tiny()))


def test_two_trials_that_live_at_once_share_nothing() -> None:
    one, other = trainable(tiny()), trainable(tiny())
    assert [comparable(one.step()) for _ in range(3)] == [comparable(other.step()) for _ in range(3)]
    third = trainable(tiny())
    assert len({id(running._trainer.network) for running in (one, other, third)}) == 3


def test_a_diverging_trial_says_so() -> None:
    with pytest.raises(FloatingPointError, match="at iteration 2"):
        trainable(tiny({"optim.lr": 1e30})).step()


class TestPreflight:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        label = np.full((40, 40), 74, np.uint8)
        label[:3], label[5, 5] = 0, 99
        for split in ("train", "val"):
            for part, pixels in (("image", rng.integers(0, 256, (40, 40, 3), np.uint8)), ("label", label)):
                (tmp_path / "data" / split / part).mkdir(parents=True)
                Image.fromarray(pixels).save(tmp_path / "data" / split / part / "one.png")
        return tmp_path / "data"

    def test_the_drawn_dataset_is_imbalanced_and_without_fault(self) -> None:
        lines = ContrastiveSegmentation.preflight(tiny())
        assert any(line.startswith("train: class 0 has ") for line in lines)

    def test_notices(self, folder: Path) -> None:
        lines = ContrastiveSegmentation.preflight(tiny({"data.dir": str(folder)}))
        assert "train: label value 99 is not in label_class_ids and is ignored: 1 pixel," in "\n".join(lines)
        assert (
            "val: class 3 (raw value 145) has no pixels; it does not count in the mean IoU unless it is predicted"
            in lines
        )
        assert any(line.startswith("train: class 1 has 12.3 times the pixels of class 0") for line in lines)

    def test_every_fault_at_once(self, folder: Path) -> None:
        (folder / "train" / "label" / "one.png").unlink()
        (folder / "val" / "image" / "one.png").write_bytes(b"no image")
        weights = folder / "missing.pth"
        config = tiny({"data.dir": str(folder), "model.backbone": "test_efficientnt", "model.weights": str(weights)})
        with pytest.raises(InputError) as caught:
            ContrastiveSegmentation.preflight(config)
        message = str(caught.value)
        assert len(caught.value.faults) == len(message.splitlines()) >= 4
        for part in (
            str(folder / "train"),
            str(folder / "val" / "image" / "one.png"),
            "model.backbone: test_efficientnt is not a timm model; did you mean test_efficientnet",
            f"model.weights: {weights} is not a file",
        ):
            assert part in message

    def test_a_trial_does_not_start_differently_for_it(self) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        ContrastiveSegmentation.preflight(tiny())
        assert torch.get_rng_state().equal(before)


def test_its_config_is_plain_json() -> None:
    used = trainable(tiny()).step()[CONFIG_USED]
    assert json.loads(json.dumps(used)) == used
