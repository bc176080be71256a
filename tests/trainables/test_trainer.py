import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tests.trainables.losses.contrast_reference import contrast_reference
from tests.trainables.tiny import comparable, differing, remaining_reports, state_of, tiny
from trainables import evaluation
from trainables.config import Config
from trainables.config_used import config_used
from trainables.data import TrainBatches, evaluation_samples, open_split, stratified_images
from trainables.devices import pick_device
from trainables.dotted_paths import with_values
from trainables.errors import InputError
from trainables.losses import build_contrast_loss, build_segmentation_loss
from trainables.metrics import ImageConfusion
from trainables.models import build_model, warm_model
from trainables.optim import build_optimizer
from trainables.protocol import TOOK_EFFECT
from trainables.trainer import CONFIG_FILE, METRICS, MODEL_FILE, TRAINER_FILE, Trainer

VARIANTS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optim.name": "adamw", "optim.lr": 1e-3},
    "sgd, memory": {"contrast.memory": True, "contrast.memory_size": 5},
    "adamw, memory": {"optim.name": "adamw", "contrast.memory": True, "contrast.memory_size": 5},
    "memory after a warm-up": {"contrast.memory": True, "contrast.warmup_iters": 3},
    "workers": {"data.workers": 2, "contrast.memory": True},
    "bf16": {"train.precision": "bf16"},
}


def variant(name: str) -> Config:
    return tiny({"model.dropout": 0.4, **VARIANTS[name]})


class TestDeterminism:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_a_saved_training_goes_on_as_if_it_had_never_stopped(self, name: str, tmp_path: Path) -> None:
        config = variant(name)
        uninterrupted = Trainer(config)
        reports = remaining_reports(uninterrupted)
        assert [report["iteration"] for report in reports] == [2, 4, 6]

        saving = Trainer(config)
        for k, report in enumerate(reports):
            assert comparable(saving.run_to_report()) == report
            saving.save(tmp_path / str(k))
        assert not differing(state_of(saving), state_of(uninterrupted))

        for k in range(len(reports)):
            torch.manual_seed(k)  # earlier draws of the process do not matter
            resumed = Trainer(config)
            resumed.load(tmp_path / str(k))
            assert resumed.iteration == reports[k]["iteration"]
            assert remaining_reports(resumed) == reports[k + 1 :]
            assert not differing(state_of(resumed), state_of(uninterrupted))

    def test_a_trainer_that_has_trained_can_load_too(self, tmp_path: Path) -> None:
        trainer = Trainer(variant("sgd, memory"))
        trainer.run_to_report()
        trainer.save(tmp_path)
        first = remaining_reports(trainer)
        trainer.load(tmp_path)
        assert remaining_reports(trainer) == first

    def test_workers_change_nothing(self) -> None:
        alone, helped = Trainer(tiny()), Trainer(tiny({"data.workers": 2}))
        assert remaining_reports(alone) == remaining_reports(helped)
        assert not differing(state_of(alone), state_of(helped))

    def test_another_seed_is_another_training(self) -> None:
        assert remaining_reports(Trainer(tiny())) != remaining_reports(Trainer(tiny({"train.seed": 1})))

    def test_dropout_draws_anew_every_iteration_and_in_another_stream_than_the_anchors(self) -> None:
        trainer = Trainer(tiny({"model.dropout": 0.4, "train.report_iters": 1}))
        seeds: list[int] = []
        contrast = trainer.contrast_loss
        assert contrast is not None
        trainer.network.register_forward_pre_hook(
            lambda network, _: seeds.append(torch.initial_seed()) if network.training else None
        )
        contrast.register_forward_pre_hook(lambda _, inputs: seeds.append(inputs[3].initial_seed()))
        remaining_reports(trainer)
        assert len(seeds) == len(set(seeds)) == 12

    def test_two_trainers_of_one_process_do_not_touch_one_another(self) -> None:
        configs = [variant("sgd, memory"), variant("adamw")]
        alone = [Trainer(config) for config in configs]
        expected = [remaining_reports(trainer) for trainer in alone]
        together = [Trainer(config) for config in configs]
        reports = [[comparable(trainer.run_to_report()) for trainer in together] for _ in range(3)]
        assert [list(of_one) for of_one in zip(*reports, strict=True)] == expected
        for one, other in zip(alone, together, strict=True):
            assert not differing(state_of(one), state_of(other))


def complete(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    remaining_reports(trainer)


def run_out_of_memory_in_a_step(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory() -> None:
        raise torch.OutOfMemoryError("simulated")

    trainer.run_to_report()
    monkeypatch.setattr(trainer.optimizer, "step", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.run_to_report()
    assert any(p.grad is not None for p in trainer.network.parameters())


def run_out_of_memory_in_the_score(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("simulated")

    with monkeypatch.context() as patch:
        patch.setattr(ImageConfusion, "update", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            trainer.run_to_report()


def diverge(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer.optimizer.param_groups[0]["base_lr"] = 1e30
    with pytest.raises(FloatingPointError):
        remaining_reports(trainer)
    assert not all(p.isfinite().all() for p in trainer.network.parameters())


class TestReusedNetwork:
    @pytest.mark.parametrize(
        "end",
        [complete, run_out_of_memory_in_a_step, run_out_of_memory_in_the_score, diverge],
        ids=lambda f: f.__name__,
    )
    def test_a_training_after_another_in_one_process_is_a_fresh_one(
        self, end: Callable[[Trainer, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = variant("sgd, memory")
        earlier = Trainer(tiny({"model.dropout": 0.4, "contrast.temperature": 0.3}), build_network=warm_model)
        end(earlier, monkeypatch)
        reused, fresh = Trainer(config, build_network=warm_model), Trainer(config)
        assert reused.network is earlier.network, "nothing was reused, so nothing was tested"
        assert not differing(state_of(reused), state_of(fresh))
        assert remaining_reports(reused) == remaining_reports(fresh)
        assert not differing(state_of(reused), state_of(fresh))

    def test_a_training_after_one_of_another_shape_is_a_fresh_one(self) -> None:
        earlier = Trainer(tiny({"contrast.loss_weight": 0.0}), build_network=warm_model)
        remaining_reports(earlier)
        reused, fresh = Trainer(tiny(), build_network=warm_model), Trainer(tiny())
        assert remaining_reports(reused) == remaining_reports(fresh)
        assert not differing(state_of(reused), state_of(fresh))


def seen_batches(trainer: Trainer) -> list[Tensor]:
    """Return a list that receives the images of every iteration from now on while the trainer trains."""
    seen: list[Tensor] = []
    trainer.network.register_forward_pre_hook(
        lambda network, inputs: seen.append(inputs[0].clone()) if network.training else None
    )
    trainer.segmentation_loss.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2].clone()))
    return seen


class TestCommonRandomNumbers:
    @pytest.mark.parametrize(
        "change",
        [
            {"contrast.loss_weight": 0.0},
            {"contrast.temperature": 0.5},
            {"contrast.memory": True},
            {"contrast.max_samples": 16},
            {"contrast.proj_dim": 16},
            {"optim.lr": 0.02},
        ],
        ids=str,
    )
    def test_configs_differ_by_their_values_not_by_their_draws(self, change: dict[str, Any]) -> None:
        base, other = (
            Trainer(tiny({"model.dropout": 0.4, "train.report_iters": 1, **values})) for values in ({}, change)
        )
        shared = {
            key: tensor
            for key, tensor in base.network.state_dict().items()
            if not key.startswith("projection.") or change.keys() == {"optim.lr"}
        }
        assert not differing(shared, {key: other.network.state_dict()[key] for key in shared})

        batches, other_batches = seen_batches(base), seen_batches(other)
        reports, other_reports = remaining_reports(base), remaining_reports(other)
        assert len(batches) == len(other_batches) == 12
        assert all(one.equal(two) for one, two in zip(batches, other_batches, strict=True))
        assert reports[0]["loss_segmentation"] == other_reports[0]["loss_segmentation"], (
            "the same weights, batch and dropout"
        )
        assert reports[1:] != other_reports[1:]


class TestSchedule:
    @pytest.mark.parametrize("report_iters", [1, 2, 4, 6])
    def test_the_horizon_is_the_full_budget(self, report_iters: int) -> None:
        config = tiny({"optim.lr": 0.02, "optim.poly_power": 0.7, "train.report_iters": report_iters})
        reports = remaining_reports(Trainer(config))
        ends = [*range(report_iters, 6, report_iters), 6]
        assert [report["iteration"] for report in reports] == ends
        assert [report["lr"] for report in reports] == pytest.approx([0.02 * (1 - (t - 1) / 6) ** 0.7 for t in ends])

    def test_the_rate_rises_to_the_schedule(self) -> None:
        config = tiny({"optim.lr": 0.02, "optim.poly_power": 0.0, "optim.warmup_iters": 4, "train.report_iters": 1})
        lrs = [report["lr"] for report in remaining_reports(Trainer(config))]
        assert lrs == pytest.approx([0.005, 0.01, 0.015, 0.02, 0.02, 0.02])

    def test_how_often_is_reported_does_not_change_the_training(self) -> None:
        often, once = Trainer(tiny({"train.report_iters": 1})), Trainer(tiny({"train.report_iters": 6}))
        last, only = remaining_reports(often)[-1], remaining_reports(once)[0]
        assert not differing(state_of(often), state_of(once))
        assert last["miou"] == only["miou"]

    def test_a_loss_is_the_mean_since_the_report_before(self) -> None:
        each = remaining_reports(Trainer(tiny({"train.report_iters": 1})))
        grouped = remaining_reports(Trainer(tiny({"train.report_iters": 4})))
        for name in ("loss", "loss_segmentation", "loss_contrast"):
            losses = [report[name] for report in each]
            assert [report[name] for report in grouped] == pytest.approx(
                [np.mean(losses[:4]), np.mean(losses[4:])], rel=1e-12
            )

    def test_the_full_budget_ends_the_training(self) -> None:
        trainer = Trainer(tiny())
        done = [trainer.done]
        for _ in range(3):
            trainer.run_to_report()
            done.append(trainer.done)
        assert done == [False, False, False, True]
        with pytest.raises(AssertionError):
            trainer.run_to_report()


class TestContrast:
    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    @pytest.mark.parametrize("warmup_iters", [1, 3])
    def test_joins_the_loss_at_the_iteration_the_config_says(self, optimizer: str, warmup_iters: int) -> None:
        common = {"optim.name": optimizer, "train.report_iters": 1, "model.dropout": 0.4}
        plain = Trainer(tiny({**common, "contrast.loss_weight": 0.0}))
        trainer = Trainer(tiny({**common, "contrast.warmup_iters": warmup_iters, "contrast.memory": True}))
        untouched = {key: tensor for key, tensor in state_of(trainer).items() if "projection." in key}
        for iteration in range(6):
            report, expected = trainer.run_to_report(), plain.run_to_report()
            active = iteration >= warmup_iters
            assert report["contrast_active"] is active
            assert (report["contrast_grad_norm"] > 0.0) is active
            assert (report["loss_contrast"] > 0.0) is active
            assert (report["num_anchors"] > 0) is active
            assert expected["contrast_active"] is False
            assert expected["contrast_grad_norm"] == expected["loss_contrast"] == expected["num_anchors"] == 0

            weights, plain_weights = trainer.network.state_dict(), plain.network.state_dict()
            moved = differing(plain_weights, {key: weights[key] for key in plain_weights})
            assert bool(moved) is active
            if not active:
                common_part = {key: value for key, value in comparable(report).items() if key in expected}
                assert common_part == comparable(expected)
                assert not any(value for key, value in report.items() if key.startswith(TOOK_EFFECT))
                assert not differing(untouched, {key: state_of(trainer)[key] for key in untouched})
                assert trainer.contrast_loss is not None
                assert not any(tensor.any() for tensor in trainer.contrast_loss.state_dict().values())

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            # There are at most 10 groups in 2 images with 64 embeddings each: 1000 // 10 = 100 views are more than
            # exist.
            ({"contrast.max_samples": 1000, "contrast.max_views": 2}, {"max_views": 1.0, "max_samples": 0.0}),
            ({"contrast.max_samples": 4, "contrast.max_views": 100}, {"max_views": 0.0, "max_samples": 1.0}),
            ({"contrast.max_keys": 4, "contrast.max_samples": 40}, {"max_keys": 0.0}),
            ({"contrast.max_keys": 100, "contrast.max_samples": 4}, {"max_keys": 1.0}),
            ({"contrast.max_positives": 1}, {"max_positives": 1.0, "negative_ratio": 0.0}),
            ({"contrast.negative_ratio": 0.1}, {"max_positives": 0.0, "negative_ratio": 1.0}),
            ({"contrast.max_positives": 9999, "contrast.negative_ratio": 9999}, {"max_positives": 0.0}),
            ({"contrast.min_pixels": 1}, {"min_pixels": 0.0}),
            ({"contrast.memory": True, "contrast.memory_size": 500}, {"memory_size": 0.0}),
            ({"contrast.memory": True, "contrast.memory_size": 1}, {"memory_size": 1.0}),
            ({"contrast.warmup_iters": 3, "contrast.max_views": 1}, {"max_views": 0.25}),
        ],
    )
    def test_a_report_says_which_of_its_limits_had_a_say(
        self, values: dict[str, Any], expected: dict[str, float]
    ) -> None:
        report = Trainer(tiny({"train.max_iters": 4, "train.report_iters": 4, **values})).run_to_report()
        told = {key: value for key, value in report.items() if key.startswith(TOOK_EFFECT)}
        assert {name: told[f"{TOOK_EFFECT}/contrast.{name}"] for name in expected} == expected
        assert (f"{TOOK_EFFECT}/contrast.memory_size" in told) is ("contrast.memory" in values)

    def test_the_gradient_norm_is_that_of_the_weighted_contrast_term(self) -> None:
        config = tiny(
            {
                "contrast.loss_weight": 0.3,
                "contrast.temperature": 0.2,
                "contrast.base_temperature": 0.1,
                # Every pixel is an anchor, so nothing is drawn.
                "contrast.max_samples": 10_000,
                "contrast.max_views": 10_000,
                "loss.ce_coef": 3.0,
                "train.max_iters": 1,
                "train.report_iters": 1,
            }
        )
        report = Trainer(config).run_to_report()

        network = build_model(config.model, 4, config.contrast.proj_dim, config.train.seed).double()
        assert network.projection is not None
        batches = TrainBatches(
            open_split(config.data, "train"), config.data, batch_size=2, seed=0, start_iteration=0, max_iters=1
        )
        images, labels = next(iter(batches))
        with torch.no_grad():
            features = network.head(network.backbone(images.double())).features
        embeddings = network.projection(features.float().double()).double()
        labels = F.interpolate(labels[:, None].double(), embeddings.shape[-2:], mode="nearest").long().flatten()
        chosen = labels != 255
        anchors, labels = embeddings.movedim(1, -1).flatten(0, 2)[chosen], labels[chosen]
        similarities = anchors @ anchors.T / 0.2
        same = labels[:, None] == labels
        negatives = similarities.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
        positives = same & ~torch.eye(len(labels), dtype=torch.bool)
        of_anchor = (F.softplus(negatives - similarities) * positives).sum(1) / positives.sum(1).clamp(min=1)
        term = 0.2 / 0.1 * of_anchor[positives.any(1)].mean()
        gradients = torch.autograd.grad(0.3 * term, list(network.projection.parameters()))

        assert report["num_anchors"] == len(labels)
        by_definition = contrast_reference(
            anchors.detach().numpy(),
            labels,
            anchors.detach().numpy(),
            labels,
            temperature=0.2,
            base_temperature=0.1,
            keys_are_anchors=True,
        )
        assert float(term.detach()) == pytest.approx(by_definition, rel=1e-6)
        assert report["loss_contrast"] == pytest.approx(by_definition, rel=1e-4)
        assert report["contrast_grad_norm"] == pytest.approx(
            math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)), rel=1e-3
        )
        assert report["loss"] == pytest.approx(3.0 * report["loss_segmentation"] + 0.3 * report["loss_contrast"])


class TestProduct:
    def test_is_the_loss_while_contrast_is_active_and_has_anchors(self) -> None:
        config = tiny(
            {
                "loss.combination": "product",
                "loss.ce_coef": 3.0,
                "contrast.loss_weight": 0.3,
                "contrast.warmup_iters": 2,
                "train.report_iters": 1,
            }
        )
        for report in remaining_reports(Trainer(config)):
            segmentation, contrast = 3.0 * report["loss_segmentation"], 0.3 * report["loss_contrast"]
            expected = segmentation * contrast if report["iteration"] > 2 else segmentation
            assert report["loss"] == pytest.approx(expected)
            assert report["contrast_active"] is (report["iteration"] > 2)

    def test_without_an_anchor_is_the_segmentation_term_alone(self) -> None:
        config = tiny({"loss.combination": "product", "contrast.min_pixels": 10_000, "train.report_iters": 1})
        report = Trainer(config).run_to_report()
        assert report["num_anchors"] == 0
        assert report["loss"] == report["loss_segmentation"] > 0.0


class TestContrastAlone:
    def test_leaves_the_classifier_as_it_was(self) -> None:
        trainer = Trainer(tiny({"loss.ce_coef": 0.0, "optim.weight_decay": 0.0}))
        before = state_of(trainer)
        remaining_reports(trainer)
        moved = differing(before, {key: tensor for key, tensor in state_of(trainer).items() if key in before})
        parameters = {f"network.{name}" for name, _ in trainer.network.named_parameters()}
        assert not [key for key in moved if key in parameters and ".head." in key]
        assert [key for key in moved if ".backbone." in key]


BATCH_IN_PARTS = {
    "train.batch_size": 6,
    "train.max_iters": 1,
    "train.report_iters": 1,
    "train.freeze_norm": True,
    "model.dropout": 0.0,
    "contrast.max_samples": 200,
    "optim.lr": 0.1,
}


class TestBatchInParts:
    @pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"contrast.memory": True},
            {"contrast.loss_weight": 0.0},
            {"loss.combination": "product"},
            {"loss.ce_coef": 0.0},
            {"contrast.max_keys": 600},
            {"loss.ce_weight_power": 1.0},
            {"model.head": "ocr", "loss.segmentation": "lovasz"},
            {"loss.segmentation": "ohem_ce", "loss.ohem_min_kept": 50, "loss.ohem_threshold": 0.0},
        ],
        ids=str,
    )
    def test_has_the_gradient_of_the_whole_batch(self, micro_batch_size: int, values: dict[str, Any]) -> None:
        whole = Trainer(tiny({**BATCH_IN_PARTS, **values}))
        parts = Trainer(tiny({**BATCH_IN_PARTS, **values, "train.micro_batch_size": micro_batch_size}))
        expected, report = whole.run_to_report(), parts.run_to_report()
        assert report["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert report["num_anchors"] == expected["num_anchors"]
        for (name, one), (_, other) in zip(
            whole.network.named_parameters(), parts.network.named_parameters(), strict=True
        ):
            assert (one.grad is None) is (other.grad is None), name
            if one.grad is not None and other.grad is not None:
                scale = max(float(one.grad.abs().max()), 1e-3)
                assert float((one.grad - other.grad).abs().max()) <= 1e-4 * scale, name
        assert not [
            key for key, tensor in state_of(whole).items() if not tensor.allclose(state_of(parts)[key], atol=1e-4)
        ]

    def test_is_not_the_mean_of_the_parts(self) -> None:
        """The contrast loss compares pixels of different parts, so a batch's loss is not an average over its parts."""
        whole = Trainer(tiny({**BATCH_IN_PARTS, "train.micro_batch_size": 2})).run_to_report()
        small = Trainer(tiny({**BATCH_IN_PARTS, "train.batch_size": 2})).run_to_report()
        assert whole["num_anchors"] > small["num_anchors"]
        assert whole["loss_contrast"] > 1.2 * small["loss_contrast"], "more negatives, a larger loss"

    def test_never_sends_more_than_a_part_through_the_network(self) -> None:
        trainer = Trainer(tiny({**BATCH_IN_PARTS, "train.micro_batch_size": 4}))
        sizes = []
        trainer.network.backbone.register_forward_pre_hook(lambda module, images: sizes.append(len(images[0])))
        trainer.train_to(1)
        assert sizes == [3, 3, 3, 3]

    def test_takes_batch_statistics_up_once_a_part(self) -> None:
        trainer = Trainer(tiny({**BATCH_IN_PARTS, "train.freeze_norm": False, "train.micro_batch_size": 2}))
        trainer.train_to(1)
        buffers = dict(trainer.network.named_buffers())
        taken = [int(count) for name, count in buffers.items() if name.endswith("num_batches_tracked")]
        assert len(taken) > 5
        assert set(taken) == {3}

    def test_draws_dropout_anew_for_every_part_and_alike_in_both_passes(self) -> None:
        config = {**BATCH_IN_PARTS, "model.dropout": 0.5, "train.micro_batch_size": 3, "contrast.loss_weight": 0.0}
        trainer = Trainer(tiny(config))
        logits: list[Tensor] = []
        trainer.network.register_forward_hook(lambda module, images, output: logits.append(output.logits.detach()))
        images, labels = torch.randn(3, 3, 32, 32), torch.zeros(6, 32, 32, dtype=torch.int64)
        trainer._step(torch.cat([images, images]), labels)
        assert logits[0].equal(logits[2])
        assert logits[1].equal(logits[3])
        assert not logits[0].equal(logits[1]), "the same images under other dropout"


class TestFrozenNorm:
    def test_keeps_running_statistics_and_uses_them(self) -> None:
        frozen, free = (Trainer(tiny({"train.freeze_norm": freeze})) for freeze in (True, False))
        before = {key: tensor.clone() for key, tensor in frozen.network.state_dict().items()}
        remaining_reports(frozen)
        remaining_reports(free)
        statistics = [key for key in before if "running_" in key]
        assert statistics
        assert not differing(
            {key: before[key] for key in statistics}, {key: frozen.network.state_dict()[key] for key in statistics}
        )
        assert differing(
            {key: before[key] for key in statistics}, {key: free.network.state_dict()[key] for key in statistics}
        )


class TestMovingAverage:
    def test_is_that_of_the_weights_after_every_iteration(self) -> None:
        trainer = Trainer(tiny({"train.ema_decay": 0.7, "train.report_iters": 1}))
        expected: dict[str, Tensor] = {}
        for _ in range(6):
            trainer.run_to_report()
            now = {key: tensor.double() for key, tensor in trainer.network.state_dict().items()}
            expected = {key: 0.7 * expected[key] + 0.3 * now[key] for key in now} if expected else now
        averaged = trainer.scored_network.state_dict()
        for key, tensor in expected.items():
            if "num_batches" not in key:
                assert torch.allclose(averaged[key].double(), tensor, rtol=1e-4, atol=1e-6), key

    def test_leaves_the_training_as_it_was_and_is_what_is_scored(self) -> None:
        plain, averaged = Trainer(tiny()), Trainer(tiny({"train.ema_decay": 0.9}))
        reports, others = remaining_reports(plain), remaining_reports(averaged)
        assert not differing(plain.network.state_dict(), averaged.network.state_dict())
        assert [report["loss"] for report in reports] == [report["loss"] for report in others]
        assert reports[-1]["miou"] != others[-1]["miou"]
        averaged.network.load_state_dict(averaged.scored_network.state_dict())
        again = Trainer(tiny())
        again.network.load_state_dict(averaged.network.state_dict())
        assert float(again.evaluate().miou()) == others[-1]["miou"]

    def test_goes_on_where_it_was_saved(self, tmp_path: Path) -> None:
        config = tiny({"train.ema_decay": 0.9, "contrast.memory": True})
        straight, cut, resumed = Trainer(config), Trainer(config), Trainer(config)
        cut.run_to_report()
        cut.save(tmp_path)
        resumed.load(tmp_path)
        assert remaining_reports(straight)[1:] == remaining_reports(resumed)
        assert not differing(state_of(straight), state_of(resumed))
        assert not differing(straight.scored_network.state_dict(), resumed.scored_network.state_dict())

    def test_is_what_a_checkpoint_holds(self, tmp_path: Path) -> None:
        trainer = Trainer(tiny({"train.ema_decay": 0.9}))
        report = remaining_reports(trainer)[-1]
        trainer.save(tmp_path)
        plain = Trainer(tiny())
        plain.network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
        assert float(plain.evaluate().miou()) == report["miou"]


class TestScoredImages:
    def test_a_report_scores_the_chosen_images_alone(self) -> None:
        values = {"data.drawn.num_val": 6, "train.report_iters": 6}
        whole, part = Trainer(tiny(values)), Trainer(tiny({**values, "evaluation.num_images": 2}))
        reports = [trainer.run_to_report() for trainer in (whole, part)]
        data = part.config.data
        split = open_split(data, "val")
        confusion = evaluation.evaluate(
            whole.network,
            evaluation_samples(split, data, stratified_images(split, data, 2)),
            data.num_classes,
            part.config.evaluation,
            padding_multiple=whole.network.padding_multiple,
            crop_size=data.augmentation.crop_size,
            device=whole.device,
            precision="float32",
        )
        assert reports[1]["miou"] == float(confusion.miou())
        assert reports[0]["miou"] != reports[1]["miou"]

    def test_a_report_tells_the_noise_of_its_score(self) -> None:
        trainer = Trainer(tiny({"train.report_iters": 6}))
        report = trainer.run_to_report()
        draws = trainer.evaluate().miou_draws(100)
        assert report["miou_draws"] == pytest.approx(draws, abs=1e-6)
        assert report["miou_se"] == pytest.approx(draws.std(ddof=1)) != 0.0
        assert report["miou"] == pytest.approx(draws.mean(), abs=3 * report["miou_se"])


class TestDivergence:
    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    def test_a_rate_far_too_high_is_a_floating_point_error(self, optimizer: str) -> None:
        trainer = Trainer(tiny({"optim.lr": 1e30, "optim.name": optimizer}))
        with pytest.raises(FloatingPointError, match=r"^the loss is (nan|inf) at iteration 2$"):
            remaining_reports(trainer)

    @pytest.mark.parametrize("iteration", [1, 3, 4, 6])
    def test_the_first_iteration_that_went_wrong_is_named(
        self, iteration: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainer = Trainer(tiny({"train.report_iters": 3}))
        forward, calls = trainer.segmentation_loss.forward, []

        def broken(logits: Tensor, aux_logits: Tensor | None, labels: Tensor) -> Tensor:
            calls.append(1)
            return forward(logits, aux_logits, labels) * (math.nan if len(calls) >= iteration else 1.0)

        monkeypatch.setattr(trainer.segmentation_loss, "forward", broken)
        with pytest.raises(FloatingPointError, match=f"^the loss is nan at iteration {iteration}$"):
            remaining_reports(trainer)


def write_dataset(folder: Path, labels: list[Any]) -> Path:
    """Write random images with these labels, the same for training and validation."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in ("image", "label"):
            (folder / split / part).mkdir(parents=True)
        for i, label in enumerate(labels):
            pixels = rng.integers(0, 256, (*np.shape(label), 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / "image" / f"{i}.png")
            Image.fromarray(np.asarray(label, np.uint8)).save(folder / split / "label" / f"{i}.png")
    return folder


def assert_trains(config: Config) -> list[dict[str, Any]]:
    trainer = Trainer(config)
    initial = state_of(trainer)
    reports = remaining_reports(trainer)
    assert trainer.done
    final = state_of(trainer)
    assert all(tensor.isfinite().all() for tensor in final.values())
    assert differing(initial, final)
    for report in reports:
        assert all(
            math.isfinite(report[name]) for name in ("loss", "loss_segmentation", "loss_contrast", "contrast_grad_norm")
        )
    return reports


class TestAwkwardInputs:
    MEMORY = {"contrast.memory": True, "train.max_iters": 4}

    def test_images_of_a_single_class(self, tmp_path: Path) -> None:
        folder = write_dataset(tmp_path, [np.full((32, 48), 74)] * 3)
        reports = assert_trains(tiny({**self.MEMORY, "data.dir": str(folder), "contrast.temperature": 0.01}))
        assert [report["loss_contrast"] for report in reports] == [0.0, 0.0]
        assert all(report["num_anchors"] > 0 for report in reports)

    def test_labels_without_a_pixel_that_counts(self, tmp_path: Path) -> None:
        folder = write_dataset(tmp_path, [np.full((32, 48), 255)] * 3)
        reports = assert_trains(tiny({**self.MEMORY, "data.dir": str(folder)}))
        assert all(report["loss"] == report["num_anchors"] == 0 for report in reports)
        assert all(math.isnan(report["miou"]) and report["iou"] == [None] * 4 for report in reports)

    def test_labels_of_which_one_image_has_none_that_counts(self, tmp_path: Path) -> None:
        striped = np.tile([[0] * 5 + [74] * 5], (40, 6))
        folder = write_dataset(tmp_path, [striped, np.full((32, 48), 255)])
        reports = assert_trains(tiny({**self.MEMORY, "data.dir": str(folder)}))
        assert all(report["loss_contrast"] > 0.0 for report in reports)

    def test_images_of_256_pixels(self) -> None:
        size = {"data.drawn.size": [256, 256], "data.augmentation.crop_size": [256, 256], "data.drawn.num_train": 2}
        assert_trains(tiny({**self.MEMORY, **size, "data.drawn.num_val": 1, "train.max_iters": 2}))

    @pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit", "hrnet_w18_small"])
    def test_sides_that_no_stride_divides(self, backbone: str) -> None:
        odd = {"data.drawn.size": [37, 53], "data.augmentation.crop_size": [33, 41], "model.backbone": backbone}
        config = tiny({**self.MEMORY, **odd, "train.max_iters": 2})
        trainer = Trainer(config)
        seen = seen_batches(trainer)
        trainer.run_to_report()
        batches = TrainBatches(
            open_split(config.data, "train"), config.data, batch_size=2, seed=0, start_iteration=0, max_iters=1
        )
        images, labels = next(iter(batches))
        sides = [
            math.ceil(side / trainer.network.padding_multiple) * trainer.network.padding_multiple for side in (33, 41)
        ]
        room = (0, sides[1] - 41, 0, sides[0] - 33)
        assert seen[0].equal(F.pad(images, room, value=0.0))
        assert seen[1].equal(F.pad(labels, room, value=255))

    def test_bf16(self) -> None:
        trainer = Trainer(tiny({"train.precision": "bf16", **self.MEMORY}))
        dtypes: set[torch.dtype] = set()
        trainer.network.get_submodule("head.0").register_forward_hook(
            lambda _module, _inputs, output: dtypes.add(output.dtype)
        )
        assert trainer.contrast_loss is not None
        trainer.contrast_loss.register_forward_pre_hook(
            lambda _, inputs: dtypes.add(torch.complex64) if inputs[0].dtype != torch.float32 else None
        )
        reports = remaining_reports(trainer)
        assert dtypes == {torch.bfloat16}, "the network in bfloat16, the embeddings that are contrasted in float32"
        assert all(math.isfinite(report["loss"]) for report in reports)


class TestDevice:
    def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_wrong_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert pick_device("auto") == torch.device("cpu")
        assert pick_device("cpu") == torch.device("cpu")
        with pytest.raises(
            InputError, match=r"^train\.device: cuda, but no GPU is visible to this process; write auto or cpu"
        ):
            Trainer(tiny({"train.device": "cuda"}))

    def test_with_a_gpu_auto_is_the_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        devices = [pick_device("auto").type, pick_device("cuda").type, pick_device("cpu").type]
        assert devices == ["cuda", "cuda", "cpu"]

    def test_the_number_of_threads_is_set(self) -> None:
        Trainer(tiny({"train.num_threads": 2}))
        assert torch.get_num_threads() == 2

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_two_trainings_at_once_on_a_gpu(self, tmp_path: Path) -> None:
        values = {"train.device": "cuda", "train.precision": "bf16", "contrast.memory": True, "model.dropout": 0.4}
        trainers = [Trainer(tiny({**values, "train.seed": seed})) for seed in (0, 1)]
        for _ in range(3):
            for trainer in trainers:
                report = trainer.run_to_report()
                assert math.isfinite(report["loss"])
                assert report["contrast_active"]
                assert report["contrast_grad_norm"] > 0.0
        for trainer in trainers:
            assert trainer.done
            assert all(p.device.type == "cuda" for p in trainer.network.parameters())
            trainer.save(tmp_path)
            loaded = Trainer(trainer.config)
            loaded.load(tmp_path)
            assert not differing(state_of(loaded), state_of(trainer))


class TestCheckpoint:
    def test_holds_plain_tensors_and_the_config(self, tmp_path: Path) -> None:
        trainer = Trainer(variant("adamw, memory"))
        trainer.run_to_report()
        folder = tmp_path / "new" / "checkpoint"
        trainer.save(folder)
        assert {path.name for path in folder.iterdir()} == {MODEL_FILE, TRAINER_FILE, CONFIG_FILE}
        weights = torch.load(folder / MODEL_FILE, weights_only=True)
        assert not differing(weights, trainer.network.state_dict())
        assert torch.load(folder / TRAINER_FILE, weights_only=True)["iteration"] == 2
        assert Config.model_validate(json.loads((folder / CONFIG_FILE).read_text())) == trainer.config


CONTRAST_ON = {"contrast.memory": True, "contrast.memory_size": 8, "contrast.pixel_update_freq": 2}


def _drop(trainer: Trainer, path: str, value: Any = None) -> None:
    owner: Any = trainer
    *parts, name = path.split(".")
    for part in parts:
        owner = getattr(owner, part)
    setattr(owner, name, value)


def _contrast_detached(trainer: Trainer) -> None:
    assert trainer.contrast_loss is not None
    forward = trainer.contrast_loss.forward
    _drop(trainer, "contrast_loss.forward", lambda embeddings, *others: forward(embeddings.detach(), *others))


def _aux_left_out(trainer: Trainer) -> None:
    forward = trainer.segmentation_loss.forward
    _drop(trainer, "segmentation_loss.forward", lambda logits, aux_logits, labels: forward(logits, None, labels))


def _never_flips(trainer: Trainer) -> None:
    batches = trainer._batches_from_here

    def changed() -> Any:
        found = batches()
        assert trainer.augmentation is not None
        compose = trainer.augmentation._compose
        compose.transforms = [t for t in compose.transforms if type(t).__name__ != "HorizontalFlip"]
        return found

    _drop(trainer, "_batches_from_here", changed)


DROPPED: dict[str, tuple[dict[str, Any], Callable[[Trainer], None], dict[str, Any]]] = {
    "contrast": ({}, lambda trainer: _drop(trainer, "contrast_loss"), {"contrast.loss_weight": 0.0}),
    "contrast in the step": (
        {},
        lambda trainer: _drop(trainer, "_contrast_active", lambda iteration: False),
        {"contrast.loss_weight": 0.0},
    ),
    "gradient of the contrast": ({}, _contrast_detached, {"contrast.loss_weight": 0.0}),
    "memory": (CONTRAST_ON, lambda trainer: _drop(trainer, "contrast_loss.bank"), {"contrast.memory": False}),
    "memory update": (
        CONTRAST_ON,
        lambda trainer: _drop(trainer, "contrast_loss.bank.update", lambda *_: None),
        {"contrast.memory": False},
    ),
    "class weights": (
        {"loss.ce_weights": "inverse", "loss.ce_weight_power": 1.0},
        lambda trainer: _drop(trainer, "segmentation_loss.main.weights"),
        {"loss.ce_weights": [1.0, 1.0, 1.0, 1.0]},
    ),
    "other class weights": (
        {"loss.ce_weights": "inverse", "loss.ce_weight_power": 1.0},
        lambda trainer: _drop(trainer, "segmentation_loss.main.weights", torch.tensor([1.0, 2.0, 3.0, 4.0])),
        {"loss.ce_weights": [1.0, 2.0, 3.0, 4.0]},
    ),
    "auxiliary loss": (
        {"model.head": "deeplab_v3", "model.backbone": "test_resnet", "model.output_stride": 8},
        _aux_left_out,
        {"loss.aux_coef": 0.0},
    ),
    "dropout": ({}, lambda trainer: _drop(trainer, "network.head.3", torch.nn.Identity()), {"model.dropout": 0.0}),
    "moving average": ({"train.ema_decay": 0.5}, lambda trainer: _drop(trainer, "average"), {"train.ema_decay": 0.0}),
    "its updates": (
        {"train.ema_decay": 0.5},
        lambda trainer: _drop(trainer, "average.update", lambda *_: None),
        {"train.ema_decay": 0.0},
    ),
    "frozen norm": (
        {"train.freeze_norm": True},
        lambda trainer: _drop(trainer, "_set_training_mode", trainer.network.train),
        {"train.freeze_norm": False},
    ),
    "flip": ({}, _never_flips, {"data.augmentation.flip": 0.0}),
}
"""Parts that a subclass may omit: the config, the change, and the config that is then in use."""


class TestConfigUsed:
    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"contrast.loss_weight": 0.0, "contrast.temperature": 0.7},
            {"optim.name": "adamw", "optim.momentum": 0.3, "optim.weight_decay": 0.0},
            {"optim.lr": 0.3, "optim.nbb_mult": 1.1, "optim.decay_norm_and_bias": False, "optim.momentum": 0.0},
            {"train.num_threads": 1, "loss.ce_weights": [1.0, 2.0, 3.0, 4.0], "data.class_names": list("abcd")},
        ],
        ids=str,
    )
    def test_is_the_config_that_was_given(self, values: dict[str, Any], tmp_path: Path) -> None:
        config = tiny(values)
        trainer = Trainer(config, build_network=warm_model)
        assert config_used(trainer) == config.model_dump(mode="json")
        trainer.run_to_report()
        assert config_used(trainer) == config.model_dump(mode="json")
        trainer.save(tmp_path)
        trainer.load(tmp_path)
        assert config_used(trainer) == json.loads(json.dumps(config.model_dump(mode="json")))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("model.dropout", 0.3),
            ("loss.ce_coef", 0.5),
            ("contrast.temperature", 0.3),
            ("contrast.memory_size", 7),
            ("optim.name", "adamw"),
            ("optim.lr", 0.02),
            ("optim.nbb_mult", 3.0),
            ("optim.momentum", 0.5),
            ("optim.weight_decay", 0.1),
            ("optim.decay_norm_and_bias", False),
        ],
    )
    def test_tells_a_part_left_over_from_another_config(self, path: str, value: Any) -> None:
        trainer, other = Trainer(tiny()), tiny({path: value})
        match path.split(".")[0]:
            case "model":
                trainer.network = build_model(other.model, 4, other.contrast.proj_dim, 0)
            case "loss":
                trainer.segmentation_loss = build_segmentation_loss(other.loss, [1, 1, 1, 1])
            case "contrast":
                trainer.contrast_loss = build_contrast_loss(other.contrast, 4)
            case "optim":
                trainer.optimizer = build_optimizer(other.optim, trainer.network)
        section, name = path.split(".")
        used = config_used(trainer)
        assert used != trainer.config.model_dump(mode="json")
        assert used[section][name] == pytest.approx(value)

    @pytest.mark.parametrize("name", DROPPED)
    def test_tells_a_part_that_a_subclass_drops(self, name: str) -> None:
        """Every part except the omitted one is compared with what the config says."""
        values, drop, expected = DROPPED[name]
        whole, trainer = Trainer(tiny(values)), Trainer(tiny(values))
        drop(trainer)
        whole.run_to_report()
        report = trainer.run_to_report()
        given = trainer.config.model_dump(mode="json")
        assert config_used(whole) == given
        used, wanted = config_used(trainer), with_values(given, expected)
        assert used == wanted != given
        if "contrast.loss_weight" in expected:
            assert not report["contrast_active"]

    def test_tells_a_schedule_that_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trainables.trainer.set_learning_rate", lambda *_: None)
        trainer = Trainer(tiny())
        trainer.run_to_report()
        assert config_used(trainer)["optim"]["poly_power"] == 0.0

    def test_tells_another_number_of_threads(self) -> None:
        trainer = Trainer(tiny({"train.num_threads": 1}))
        torch.set_num_threads(2)
        assert config_used(trainer)["train"]["num_threads"] == 2


def test_a_report_holds_every_metric() -> None:
    report = Trainer(tiny()).run_to_report()
    assert report.keys() >= METRICS
    assert all(isinstance(report[name], float) for name in METRICS)
    assert report["images_per_second"] > 0.0
    assert report["seconds_per_image"] > 0.0
    assert len(report["iou"]) == 4
