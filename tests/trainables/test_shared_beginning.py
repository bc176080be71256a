"""Tests that shared iterations are trained once, are found by exactly the values that matter, and are bit-equal."""

import multiprocessing
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.pool import Pool, ThreadPool
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.trainables.test_config import CHANGES_NO_NUMBER, HELD_ELSEWHERE, NEEDS, OTHER_VALUES, PATHS
from tests.trainables.tiny import comparable, differing, remaining_reports, state_of, tiny
from trainables.config import Config
from trainables.contrastive_segmentation import ContrastiveSegmentation
from trainables.protocol import ITERATIONS_SHARED
from trainables.shared_beginning import num_shared_iters, shared_fields, shared_key, take_up_beginning
from trainables.trainer import Trainer

WARMUP: dict[str, Any] = {
    "contrast.warmup_iters": 3,
    "contrast.memory": True,
    "contrast.max_samples": 96,
    "contrast.memory_size": 3,
    "contrast.pixel_update_freq": 2,
    "loss.ce_weight_power": 0.5,
    "optim.lr": 0.05,
    "train.batch_size": 6,
    "train.micro_batch_size": 3,
    "train.ema_decay": 0.5,
}
"""The contrast loss starts after three of six iterations; nearly all values are used."""

SHARED: dict[str, Any] = {
    **WARMUP,
    "contrast.warmup_iters": 1,
    "train.shared_iters": 3,
    "train.shared_values": [["optim.poly_power", 0.9]],
}
"""Three of six iterations are shared, and the contrast loss is active in two of them."""

SEARCHED = {
    "optim.lr": 0.01,
    "optim.poly_power": 0.5,
    "optim.momentum": 0.5,
    "optim.decay_norm_and_bias": False,
    "loss.ce_weight_power": 1.0,
    "contrast.temperature": 0.3,
    "contrast.loss_weight": 0.5,
    "data.augmentation.flip": 0.0,
    "train.batch_size": 4,
}
"""Values that may change during a training."""


def searched(values: dict[str, Any] = SEARCHED, shared_iters: int = 3) -> Config:
    """Return a trial of a search that shares its first iterations."""
    base = tiny({**WARMUP, "train.shared_iters": shared_iters})
    own = tiny({**WARMUP, "train.shared_iters": shared_iters, **values})
    nested = base.model_dump(mode="json")
    return own.with_shared_values({path: _at(nested, path) for path in values})


def _at(nested: Any, path: str) -> Any:
    for key in path.split("."):
        nested = nested[key]
    return nested


def shared_training(config: Config, folder: Path, owner: str = "other") -> tuple[Trainer, int]:
    trainer = Trainer(config)
    return trainer, take_up_beginning(trainer, folder, owner)


@pytest.mark.parametrize("config", [tiny(WARMUP), tiny(SHARED), searched(), searched(shared_iters=4)])
@pytest.mark.parametrize("report_iters", [1, pytest.param(2, marks=pytest.mark.slow), 6])
def test_a_shared_beginning_changes_no_bit(config: Config, report_iters: int, tmp_path: Path) -> None:
    config = config.model_copy(update={"train": config.train.model_copy(update={"report_iters": report_iters})})
    scratch = Trainer(config)
    expected = [report for report in remaining_reports(scratch) if report["iteration"] > num_shared_iters(config)]
    for owner, num_saved in (("one", 0), ("other", num_shared_iters(config))):
        trainer, saved = shared_training(config, tmp_path, owner)
        assert saved == num_saved
        assert remaining_reports(trainer) == expected
        assert not differing(state_of(trainer), state_of(scratch))


FILES = {"data.dir", "data.bit_depth", "model.weights"}
NOT_SHARED = FILES | HELD_ELSEWHERE | {"contrast.warmup_iters", "train.shared_iters", "train.shared_values"}


@lru_cache
def state_after_three(config: Config) -> dict[str, torch.Tensor]:
    if num_shared_iters(config) == 0:
        return {}
    trainer = Trainer(config)
    trainer.train_to(3)
    average = {f"average.{name}": tensor for name, tensor in trainer.scored_network.state_dict().items()}
    return state_of(trainer) | average


ALIKE_IN_BOTH = ("data.", "model.", "optim.", "evaluation.")
"""Sections that the shared iterations depend on in the same way, whether the contrast is active in them or not."""


@pytest.mark.parametrize(
    ("base", "path"),
    [
        pytest.param(base, path, id=f"{name}-{path}", marks=[pytest.mark.slow] if is_slow else [])
        for name, base in (("warm-up", WARMUP), ("shared", SHARED))
        for path in PATHS
        if path not in NOT_SHARED
        for is_slow in [base is SHARED and path.startswith(ALIKE_IN_BOTH)]
    ],
)
def test_the_key_is_of_exactly_the_fields_that_matter(path: str, base: dict[str, Any]) -> None:
    needed = {**base, **NEEDS.get(path, {})}
    one, other = tiny(needed), tiny({**needed, path: (OTHER_VALUES | CHANGES_NO_NUMBER)[path]})
    waiting = base is WARMUP  # a contrast loss that waits has a state that nothing depends on
    names = differing(state_after_three(one), state_after_three(other))
    changed = [name for name in names if not (waiting and name.startswith("contrast."))]
    assert bool(changed) == (shared_key(one) != shared_key(other)), changed[:3]


def test_the_key_is_of_how_files_are_read() -> None:
    keys = {shared_key(tiny({**SHARED, "data.dir": "images", "data.bit_depth": depth})) for depth in (12, 16)}
    assert len(keys) == 2
    assert shared_key(tiny({**SHARED, "data.bit_depth": 12})) == shared_key(tiny(SHARED)), "images that are drawn"


def test_the_key_does_not_ask_for_the_searched_values() -> None:
    assert shared_key(searched()) == shared_key(searched({"optim.lr": 0.2})) == shared_key(searched({}))
    assert shared_key(searched({"model.dropout": 0.3})) != shared_key(searched({}))
    assert "contrast" not in shared_fields(tiny(WARMUP))


def test_values_that_cannot_change_hold_from_the_start() -> None:
    config = searched({"model.dropout": 0.3, "optim.lr": 0.2, "contrast.loss_weight": 0.0})
    assert config.train.shared_values == (("optim.lr", 0.05),)


def test_lists_are_shared_as_numbers_are() -> None:
    base = tiny({**WARMUP, "train.shared_iters": 3})
    own, held = tiny({**WARMUP, "train.shared_iters": 3, "data.augmentation.crop_size": [24, 16]}), [16, 16]
    nested = own.with_shared_values({"data.augmentation.crop_size": held}).model_dump(mode="json")
    assert nested["train"]["shared_values"] == [["data.augmentation.crop_size", held]]
    trial = Config.model_validate(nested)
    assert trial == own.with_shared_values({"data.augmentation.crop_size": held}), "read again from its file"
    assert trial.data.augmentation.crop_size == (24, 16)
    assert trial.beginning().data.augmentation.crop_size == (16, 16)
    assert shared_key(trial) == shared_key(base.with_shared_values({"data.augmentation.crop_size": held}))
    unchanged = own.with_shared_values({"data.augmentation.crop_size": [24, 16]})
    assert "train.shared_values" in unchanged.unused()


def test_the_searched_values_take_effect_after_the_shared_iterations() -> None:
    lr = {}
    for config in (searched(), searched({})):
        trainer = Trainer(config.model_copy(update={"train": config.train.model_copy(update={"report_iters": 1})}))
        lr[config.optim.lr] = [report["lr"] for report in remaining_reports(trainer)]
    assert lr[0.01][:3] == lr[0.05][:3]
    assert lr[0.01][3] == pytest.approx(0.01 * 0.5**0.5)


def test_nothing_of_the_trial_that_trained_a_beginning_is_in_the_reports_of_another(tmp_path: Path) -> None:
    """Effects in the shared iterations are not reported either: they belong to the config that trained them."""
    report_at_once = {"contrast.max_samples": 4, "contrast.warmup_iters": 0, "train.report_iters": 6}
    base = tiny({**WARMUP, **report_at_once, "train.shared_iters": 3})
    others = tiny({**WARMUP, **report_at_once, "train.shared_iters": 3, "contrast.max_samples": 9999, "optim.lr": 0.2})
    held = {"contrast.max_samples": 4, "optim.lr": 0.05}
    told = {}
    for number, config in enumerate((base, base.with_shared_values(held), others.with_shared_values(held))):
        scratch = remaining_reports(Trainer(config))
        for first in (base, others.with_shared_values(held)):
            folder = tmp_path / f"{number}-{first.optim.lr}"
            shared_training(first, folder, "first")
            trainer, saved = shared_training(config, folder)
            assert saved == 3
            assert remaining_reports(trainer) == scratch
        told[number] = scratch
    assert told[0] == told[1], "the default's own values, written out or not"
    assert told[0][0]["took_effect/contrast.max_samples"] == 1.0
    assert told[2][0]["took_effect/contrast.max_samples"] == 0.0


def test_a_longer_warm_up_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    short, long = tiny({**WARMUP, "contrast.warmup_iters": 2}), tiny({**WARMUP, "contrast.warmup_iters": 5})
    assert shared_training(short, tmp_path)[1] == 0
    trainer, saved = shared_training(long, tmp_path, "longer")
    assert saved == 2
    assert remaining_reports(trainer) == [r for r in remaining_reports(Trainer(long)) if r["iteration"] > 5]
    (chain,) = tmp_path.iterdir()
    assert sorted(path.name for path in chain.iterdir()) == ["2", "5", "lock"]


def test_a_beginning_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny({**WARMUP, "contrast.warmup_iters": 5})
    train_to = Trainer.train_to
    monkeypatch.setattr(Trainer, "train_to", lambda self, end: train_to(self, end) if end <= 4 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shared_training(config, tmp_path, "killed")
    monkeypatch.undo()
    trainer, saved = shared_training(config, tmp_path, "killed")
    assert saved == 0, "its own iterations are not saved ones"
    assert trainer.iteration == 5
    assert remaining_reports(trainer) == remaining_reports(Trainer(config))[-1:]


def test_a_damaged_beginning_is_trained_again(tmp_path: Path) -> None:
    config = tiny({**WARMUP, "contrast.warmup_iters": 5})
    shared_training(config, tmp_path)
    (chain,) = tmp_path.iterdir()
    weights = next(path for path in (chain / "5").iterdir() if path.suffix == ".pt")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"5 {weights.name} has changed since it was written"):
        trainer, saved = shared_training(config, tmp_path, "later")
    assert saved == 0
    assert remaining_reports(trainer) == remaining_reports(Trainer(config))[-1:]
    assert shared_training(config, tmp_path, "last")[1] == 5


def _saved(config: Config, folder: Path, number: int) -> int:
    torch.set_num_threads(1)
    return shared_training(config, folder, f"trial-{number}")[1]


@pytest.mark.parametrize(
    "start_pool",
    [ThreadPool, pytest.param(multiprocessing.get_context("spawn").Pool, marks=pytest.mark.slow)],
    ids=["threads", "processes"],
)
def test_of_trials_that_begin_at_once_one_trains(tmp_path: Path, start_pool: Callable[[int], Pool]) -> None:
    with start_pool(2) as pool:
        saved = pool.starmap(_saved, [(searched(), tmp_path, number) for number in range(2)])
    assert sorted(saved) == [0, 3]


def test_the_trainable_says_what_it_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "ray_results"))
    told = []
    for owner in ("one", "other"):
        running = ContrastiveSegmentation(config=tiny(WARMUP).model_dump(mode="json"))
        running.share_beginning(tmp_path / "shared", owner)
        told.append([running.step() for _ in range(2)])
    assert [[step[ITERATIONS_SHARED] for step in steps] for steps in told] == [[0, 0], [3, 0]]
    assert [comparable(step) for step in told[0]][1] == [comparable(step) for step in told[1]][1]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"train.shared_iters": 6}, "shared_iters = 6 is not below max_iters = 6"),
        ({"train.shared_values": [["model.dropout", 0.2]]}, "sets model.dropout, which cannot change"),
        ({"train.shared_values": [["contrast.loss_weight", 0.0]]}, "the projection head must exist"),
        ({"train.shared_values": [["optim.lr", -1.0]]}, "train.shared_values: optim.lr: Input should be greater"),
        ({"train.shared_values": [["optim.rate", 1.0]]}, "train.shared_values: optim.rate: Extra inputs"),
    ],
)
def test_shared_values_that_cannot_hold_are_named(values: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match="validation error") as caught:
        tiny({"train.shared_iters": 3, **values})
    assert rule in str(caught.value)
