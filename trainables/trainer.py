"""Training of one config: the only place where data, model and losses meet.

Everything random in iteration t (batches, augmentation, dropout, anchors) is drawn from (seed, t). A training that is
resumed at iteration t is therefore identical to one that was never interrupted, and two configs see the same draws.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.allocator import keep_freed_memory
from trainables.config import IGNORE_INDEX, Config
from trainables.data import (
    Augmentation,
    TrainBatches,
    class_pixel_counts,
    evaluation_samples,
    nested_images,
    open_split,
    stratified_images,
)
from trainables.devices import on_device, pick_device
from trainables.errors import Fault, InputError
from trainables.evaluation import evaluate, forward_seconds
from trainables.last_iteration import LastIteration
from trainables.losses import LIMITS, build_contrast_loss, build_segmentation_loss
from trainables.metrics import ImageConfusion
from trainables.models import SegmentationOutput, Segmenter, build_model
from trainables.moving_average import MovingAverage
from trainables.optim import build_optimizer, poly_lr, set_learning_rate
from trainables.protocol import DRAWS, TOOK_EFFECT

METRICS = frozenset(
    {
        "miou",
        "pixel_accuracy",
        "loss",
        "loss_segmentation",
        "loss_contrast",
        "images_per_second",
        "seconds_per_image",
    }
)
"""Metrics of a report that a search may use as its objective."""

DRAWN_METRICS = frozenset({"miou"})
"""Metrics of which a report holds bootstrap draws."""

NUM_DRAWS = 100
"""Number of bootstrap draws of the score in a report. They give a standard deviation to within 7 %, in less than a
kilobyte.
"""

MODEL_FILE = "model.pt"
TRAINER_FILE = "trainer.pt"
CONFIG_FILE = "config.json"

NetworkBuilder = Callable[..., Segmenter]

# Random number streams that share one seed with those of the batches.
_DROPOUT, _ANCHORS = 3, 4


class _Step(NamedTuple):
    """Losses of one iteration, float32 scalars; the terms are not yet multiplied by their coefficients."""

    loss: Tensor
    segmentation: Tensor
    contrast: Tensor
    num_anchors: Tensor
    took_effect: Mapping[str, Tensor]
    """Whether a limit of the contrast had an effect in this iteration, bool scalars; False for those that are missing.
    """

    def numbers(self) -> Tensor:
        """Return the losses, the number of anchors and the effects of all limits in one row, float64, on the device."""
        no_effect = torch.zeros((), dtype=torch.bool, device=self.loss.device)
        effects = [self.took_effect.get(name, no_effect) for name in LIMITS]
        numbers = [self.loss, self.segmentation, self.contrast, self.num_anchors, *effects]
        return torch.stack([number.detach().double() for number in numbers])


class Trainer:
    """One training of a config. Call `run_to_report` until `done`."""

    def __init__(self, config: Config, *, build_network: NetworkBuilder = build_model) -> None:
        """Build everything that a training needs.

        Args:
            config: The whole config of the trial.
            build_network: Function that is called like `trainables.models.build_model`. A process that trains many
                trials passes one that reuses the network.

        Raises:
            InputError: the dataset, the weights or the name of the backbone are wrong, or the device does not exist.
        """
        if config.train.precision == "auto":
            fix = "write float32 or bf16, or search over both of them"
            raise InputError(
                [Fault("train.precision", "auto, which is only chosen for a whole search or training", fix)]
            )
        keep_freed_memory()
        self.config = config
        if config.train.num_threads is not None:
            torch.set_num_threads(config.train.num_threads)
        self.device = pick_device(config.train.device)
        self._train_split = open_split(config.data, "train")
        self._train_images = nested_images(self._train_split, config.data, config.data.num_images)
        self._val_split = open_split(config.data, "val")
        self._val_images = stratified_images(self._val_split, config.data, config.evaluation.num_images)
        self.network = build_network(config.model, config.data.num_classes, config.contrast.head_dim, config.train.seed)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        ema_decay = config.train.ema_decay
        self.average = MovingAverage(self.network, ema_decay) if ema_decay > 0.0 else None
        self.iteration = 0
        self.after_iteration: Callable[[int], None] = lambda iteration: None
        """Callback for a progress bar, called with the number of each finished iteration."""
        self._recent_losses = torch.empty(0, 3, dtype=torch.float64)
        """(n, 3) loss and its two terms in each iteration since the last report."""
        self._recent_effects = torch.empty(0, len(LIMITS), dtype=torch.bool)
        """(n, limits) bool: effect of each limit of the contrast loss in each iteration since the last report."""
        self._last_grad_norm = 0.0
        """Norm of the gradient that reached the projection head in the last iteration."""
        self.last_iteration: LastIteration | None = None
        """Observable effects of the last iteration; None before the first one in this process."""
        self._build(config.beginning())

    def _build(self, config: Config) -> None:
        """Build everything except the network, from the config that is in force from here on."""
        self.in_force = config
        """Config of the current parts; in the shared iterations it differs from `config`."""
        self.pixel_counts = class_pixel_counts(self._train_split, config.data, self._train_images)
        self.segmentation_loss = build_segmentation_loss(config.loss, self.pixel_counts).to(self.device)
        contrast_loss = build_contrast_loss(config.contrast, config.data.num_classes)
        self.contrast_loss = None if contrast_loss is None else contrast_loss.to(self.device)
        self.optimizer = build_optimizer(config.optim, self.network)
        self._batches: Iterator[tuple[Tensor, Tensor]] | None = None
        self.augmentation: Augmentation | None = None
        """Augmentation of the current batches; None before the first."""

    def _end_beginning(self) -> None:
        """Continue with the config's own values; keep the momenta, and a memory bank of the same shape."""
        momenta, contrast_loss = self.optimizer.state, self.contrast_loss
        self._build(self.config)
        self.optimizer.state.update(momenta)
        if self.contrast_loss is not None and contrast_loss is not None:
            kept, own = contrast_loss.state_dict(), self.contrast_loss.state_dict()
            if {key: rows.shape for key, rows in kept.items()} == {key: rows.shape for key, rows in own.items()}:
                self.contrast_loss.load_state_dict(kept)

    @property
    def done(self) -> bool:
        """True if the full budget has been used."""
        return self.iteration >= self.config.train.max_iters

    @property
    def scored_network(self) -> Segmenter:
        """The network that is scored and kept: the trained one, or the moving average of its weights."""
        return self.network if self.average is None else self.average.network

    def run_to_report(self) -> dict[str, Any]:
        """Train to the next report and score the network.

        Returns:
            The report: `iteration`; the metrics; `iou` (K floats, NaN for classes that do not occur); the bootstrap
            draws of `miou` and their standard deviation `miou_se`; the learning rate of the last iteration; whether
            contrast was active in it, and with how many anchors; the norm of the gradient that reached the projection
            head, which comes from the contrast loss alone; the share of iterations in which each limit of the contrast
            loss had an effect; and the network's time per validation image, for all its scales and mirrored copies.
            Times are measured: they differ from run to run and with the load of the machine.

        Raises:
            FloatingPointError: the loss of an iteration is not finite; the message counts iterations from 1.
        """
        assert not self.done, "the full budget has been used"
        config = self.config.train
        start = self.iteration
        end = min(start + config.report_iters - start % config.report_iters, config.max_iters)
        started = time.perf_counter()
        num_anchors = self.train_to(end)
        seconds = time.perf_counter() - started
        report_before = (end - 1) // config.report_iters * config.report_iters
        loss, loss_segmentation, loss_contrast = self._recent_losses[report_before - end :].mean(dim=0).tolist()
        effects = self._effects(self._recent_effects[report_before - end :], report_before)
        self._recent_losses, self._recent_effects = self._recent_losses[:0], self._recent_effects[:0]
        with forward_seconds(self.scored_network, self.device) as forward:
            confusion = self.evaluate()
        draws = confusion.miou_draws(NUM_DRAWS)
        return {
            "iteration": self.iteration,
            "miou": float(confusion.miou()),
            "miou_se": float(draws.std(ddof=1)),
            f"miou{DRAWS}": [round(float(draw), 6) for draw in draws],
            "pixel_accuracy": float(confusion.pixel_accuracy()),
            "iou": [float(iou) for iou in confusion.iou()],
            "loss": loss,
            "loss_segmentation": loss_segmentation,
            "loss_contrast": loss_contrast,
            "lr": self.optimizer.param_groups[0]["lr"],
            "contrast_active": self.last_iteration is not None and self.last_iteration.contrast_reached_network,
            "contrast_grad_norm": self._last_grad_norm,
            "num_anchors": num_anchors,
            **effects,
            "images_per_second": (end - start) * self.in_force.train.batch_size / seconds,
            "seconds_per_image": sum(forward) / len(self._val_images),
        }

    def train_to(self, end: int) -> int:
        """Train to an iteration without scoring.

        Returns:
            The number of anchors in the last iteration.

        Raises:
            FloatingPointError: as in `run_to_report`.
        """
        steps: list[Tensor] = []
        self._set_training_mode()
        while self.iteration < end:
            if self.in_force is not self.config and self.iteration == self.config.train.shared_iters:
                self._end_beginning()
                self._set_training_mode()
            if self._batches is None:
                self._batches = self._batches_from_here()
            images, labels = next(self._batches)
            size = images.shape
            step = self._step(images, labels)
            steps.append(step.numbers())
            self.iteration += 1
            self.after_iteration(self.iteration)
        read = torch.cat([*steps, self._projection_grad_norm()[None]]).cpu()  # waits for the accelerator, once
        numbers, self._last_grad_norm = read[:-1].view(len(steps), -1), float(read[-1])
        losses, num_anchors = numbers[:, :3], int(numbers[-1, 3])
        self.last_iteration = LastIteration.seen(self.network, size, num_anchors)
        wrong = (~losses[:, 0].isfinite()).nonzero().flatten().tolist()
        if wrong:
            iteration = end - len(steps) + wrong[0] + 1
            raise FloatingPointError(f"the loss is {losses[wrong[0], 0]} at iteration {iteration}")
        self._recent_losses = torch.cat([self._recent_losses, losses])
        self._recent_effects = torch.cat([self._recent_effects, numbers[:, 4:].bool()])
        return num_anchors

    def _set_training_mode(self) -> None:
        self.network.train()
        if self.in_force.train.freeze_norm:
            for norm in self._batch_norms():
                norm.eval()

    def _batches_from_here(self) -> Iterator[tuple[Tensor, Tensor]]:
        config = self.in_force
        batches = TrainBatches(
            self._train_split,
            config.data,
            images=self._train_images,
            batch_size=config.train.batch_size,
            seed=config.train.seed,
            start_iteration=self.iteration,
            max_iters=config.train.max_iters,
            pin_memory=self.device.type == "cuda",
        )
        self.augmentation = batches.augmentation
        return on_device(batches, self.device)

    def _step(self, images: Tensor, labels: Tensor) -> _Step:
        """Train one iteration on a batch of images (B, 3, H, W) and labels (B, H, W)."""
        config, iteration = self.in_force, self.iteration
        factor = poly_lr(
            iteration,
            max_iters=config.train.max_iters,
            power=config.optim.poly_power,
            warmup_iters=config.optim.warmup_iters,
        )
        set_learning_rate(self.optimizer, factor)
        images, labels = _padded(images, labels, self.network.padding_multiple)
        images = images.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        parts = torch.tensor_split(images, math.ceil(len(images) / (config.train.micro_batch_size or len(images))))
        step = self._backward(images, labels) if len(parts) == 1 else self._backward_in_parts(parts, labels)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        return step

    def _backward(self, images: Tensor, labels: Tensor) -> _Step:
        step = self._losses(self._forward(images, 0), labels)
        torch.autograd.backward(step.loss)
        return step

    def _backward_in_parts(self, parts: Sequence[Tensor], labels: Tensor) -> _Step:
        """Compute the gradient of the whole batch, but hold the activations of only one part at a time.

        This is GradCache (Gao et al., arXiv 2101.06983). The outputs of all parts are computed without a graph, the
        losses on all of them give the gradient at the outputs, and a second forward pass of each part carries it on to
        the weights. The result equals that of the whole batch except for batch-norm statistics and dropout, which are
        those of the parts.
        """
        statistics_kept = [norm for norm in self._batch_norms() if norm.training and norm.track_running_stats]
        for norm in statistics_kept:
            norm.track_running_stats = False
        with torch.no_grad():
            outputs = [self._forward(part, index) for index, part in enumerate(parts)]
        for norm in statistics_kept:
            norm.track_running_stats = True
        whole = SegmentationOutput._make(_joined_leaf(maps) for maps in zip(*outputs, strict=True))
        step = self._losses(whole, labels)
        torch.autograd.backward(step.loss)
        start = 0
        for index, part in enumerate(parts):
            reached = [
                (maps, joined.grad[start : start + len(part)])
                for maps, joined in zip(self._forward(part, index), whole, strict=True)
                if maps is not None and joined is not None and joined.grad is not None
            ]
            maps, gradients = zip(*reached, strict=True)
            torch.autograd.backward(maps, gradients)
            start += len(part)
        return step

    def _forward(self, images: Tensor, part: int) -> SegmentationOutput:
        """Return the network's output as float32; dropout depends on the iteration and the part of the batch."""
        config = self.config.train
        torch.manual_seed(_stream(config.seed, _DROPOUT, self.iteration, part))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            output = self.network(images, with_embeddings=self._contrast_active(self.iteration))
        return SegmentationOutput._make(None if maps is None else maps.float() for maps in output)

    def _losses(self, output: SegmentationOutput, labels: Tensor) -> _Step:
        config = self.in_force
        segmentation = self.segmentation_loss(output.logits, output.aux_logits, labels)
        loss = config.loss.ce_coef * segmentation
        if not self._contrast_active(self.iteration):
            nothing = torch.zeros((), device=self.device)
            return _Step(loss, segmentation, nothing, nothing, {})
        assert self.contrast_loss is not None
        assert output.embeddings is not None
        generator = torch.Generator(self.device)
        generator.manual_seed(_stream(config.train.seed, _ANCHORS, self.iteration))
        term = self.contrast_loss(output.embeddings, output.logits, labels, generator)
        weighted = config.contrast.loss_weight * term.loss
        is_product = config.loss.combination == "product"
        loss = torch.where(term.num_anchors > 0, loss * weighted, loss) if is_product else loss + weighted
        return _Step(loss, segmentation, term.loss, term.num_anchors, term.took_effect)

    def _batch_norms(self) -> list[_BatchNorm]:
        return [module for module in self.network.modules() if isinstance(module, _BatchNorm)]

    def _contrast_active(self, iteration: int) -> bool:
        return self.contrast_loss is not None and iteration >= self.in_force.contrast.warmup_iters

    def _effects(self, effects: Tensor, start: int) -> dict[str, float]:
        """Return the share of the iterations from `start` on in which each used limit of the contrast had an effect.

        Args:
            effects: (n, limits) bool, one row per iteration, for the limits in force in it. The shared iterations may
                have been trained by another trial; if other limits than the config's own are in force in them, they
                count as without effect.
            start: The number of iterations before the first row.
        """
        if self.config.beginning().contrast != self.config.contrast:
            effects = effects.clone()
            effects[: max(0, self.config.train.shared_iters - start)] = False
        unused = self.config.unused()
        shares = zip((f"contrast.{name}" for name in LIMITS), effects.double().mean(dim=0).tolist(), strict=True)
        return {f"{TOOK_EFFECT}/{path}": share for path, share in shares if path not in unused}

    def _projection_grad_norm(self) -> Tensor:
        """Return the norm of the gradient that reached the projection head, a float64 scalar on the device."""
        parameters = () if self.network.projection is None else self.network.projection.parameters()
        norms = [parameter.grad.norm() for parameter in parameters if parameter.grad is not None]
        norm = torch.stack(norms).norm() if norms else torch.zeros((), device=self.device)
        return norm.double()

    def evaluate(self) -> ImageConfusion:
        """Score the current network on the validation images that `evaluation.num_images` selects."""
        config = self.config
        return evaluate(
            self.scored_network,
            evaluation_samples(self._val_split, config.data, self._val_images),
            config.data.num_classes,
            config.evaluation,
            padding_multiple=self.network.padding_multiple,
            crop_size=config.data.augmentation.crop_size,
            device=self.device,
            precision=config.train.precision,
        )

    def save(self, folder: Path) -> None:
        """Write a checkpoint: `config.json`, the scored network (`model.pt`) and the rest of the state (`trainer.pt`).

        `model.pt` and `trainer.pt` can be loaded with `weights_only=True`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.scored_network.state_dict(), folder / MODEL_FILE)
        state = {
            "iteration": self.iteration,
            "network": None if self.average is None else self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "contrast": None if self.contrast_loss is None else self.contrast_loss.state_dict(),
            "recent_losses": self._recent_losses,
            "recent_effects": self._recent_effects,
        }
        torch.save(state, folder / TRAINER_FILE)
        (folder / CONFIG_FILE).write_text(json.dumps(self.config.model_dump(mode="json"), indent=2), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Resume a training where `save` left it: weights, optimiser, schedule, memory bank and random draws."""
        self.scored_network.load_state_dict(
            torch.load(folder / MODEL_FILE, map_location=self.device, weights_only=True)
        )
        state = torch.load(folder / TRAINER_FILE, map_location=self.device, weights_only=True)
        config, self.iteration = self.config, state["iteration"]
        self._build(config.beginning() if self.iteration <= config.train.shared_iters else config)
        if self.average is not None:
            self.network.load_state_dict(state["network"])
            self.average.num_updates = state["iteration"]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.contrast_loss is not None and self._contrast_active(self.iteration - 1):
            self.contrast_loss.load_state_dict(state["contrast"])
        self._recent_losses, self._recent_effects = state["recent_losses"].cpu(), state["recent_effects"].cpu()
        self.last_iteration = None


def _stream(seed: int, stream: int, iteration: int, part: int = 0) -> int:
    """Return the seed, below 2^63, of one random stream in one part of an iteration."""
    return int(np.random.SeedSequence([seed, stream, iteration, part]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _joined_leaf(maps: Sequence[Tensor | None]) -> Tensor | None:
    """Concatenate one output of all parts of a batch into the start of a new graph."""
    given = [part for part in maps if part is not None]
    return torch.cat(given).requires_grad_() if given else None


def _padded(images: Tensor, labels: Tensor, multiple: int) -> tuple[Tensor, Tensor]:
    """Pad a batch on the right and at the bottom, so that its sides are multiples of `multiple`.

    Images are padded with the mean colour (0), labels with `IGNORE_INDEX`.
    """
    height, width = labels.shape[-2:]
    room = (0, -width % multiple, 0, -height % multiple)
    if not any(room):
        return images, labels
    return F.pad(images, room), F.pad(labels, room, value=IGNORE_INDEX)
