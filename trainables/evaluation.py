"""Prediction for images of any size, and its score against the labels.

Predictions have the size of the label: logits are upsampled to the padded input, the padding is removed, and only then
is the rest resized to the label.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import EvaluationConfig
from trainables.metrics import ImageConfusion
from trainables.models.output import SegmentationOutput

Network = Callable[[Tensor], SegmentationOutput]
"""Function from (B, 3, H, W) float images, normalised, to logits at any resolution."""


class Sized(Protocol):
    """One image and the size that its prediction must have."""

    @property
    def image(self) -> Tensor:
        """Image, (3, h, w) float32, normalised."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the prediction, in pixels."""


class Labelled(Sized, Protocol):
    """One image and its label, which may differ in size."""

    @property
    def label(self) -> Tensor:
        """Label, (H, W) integer, in [0, K) or ignore_index."""


AnyImage = TypeVar("AnyImage", bound=Sized)


def evaluate(
    network: nn.Module,
    samples: Iterable[Labelled],
    num_classes: int,
    config: EvaluationConfig,
    *,
    padding_multiple: int,
    crop_size: tuple[int, int],
    device: torch.device,
    precision: Literal["float32", "bf16", "auto"],
) -> ImageConfusion:
    """Return the confusion matrix of a network over all samples; the arguments are those of `predictions`."""
    confusion = ImageConfusion(num_classes)
    for batch, predicted in predictions(
        network,
        samples,
        config,
        padding_multiple=padding_multiple,
        crop_size=crop_size,
        device=device,
        precision=precision,
    ):
        confusion.update(predicted, torch.stack([sample.label for sample in batch]))
    return confusion


@contextmanager
def forward_seconds(network: nn.Module, device: torch.device) -> Iterator[list[float]]:
    """Measure the time of each forward pass of a network, in seconds, including the accelerator's work.

    The list is complete at the end of the block. On a GPU, the block itself never waits.
    """
    seconds: list[float] = []
    times: list[Any] = []

    def mark() -> None:
        if device.type == "cuda":
            event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(device))
            times.append(event)
        else:
            times.append(time.perf_counter())

    hooks = (
        network.register_forward_pre_hook(lambda *_: mark()),
        network.register_forward_hook(lambda *_: mark()),
    )
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        for begin, end in zip(times[::2], times[1::2], strict=False):
            seconds.append(begin.elapsed_time(end) / 1000 if device.type == "cuda" else end - begin)


def predictions(
    network: nn.Module,
    samples: Iterable[AnyImage],
    config: EvaluationConfig,
    *,
    padding_multiple: int,
    crop_size: tuple[int, int],
    device: torch.device,
    precision: Literal["float32", "bf16", "auto"],
) -> Iterator[tuple[list[AnyImage], Tensor]]:
    """Yield batches of samples with their predicted classes (B, H, W) int64 in [0, K), on the device.

    Consecutive images of equal size pass through the network together, up to `config.batch_size` of them. The network
    is in evaluation mode until the last batch has been yielded, and then returns to its former mode.

    Args:
        network: The network, on the device.
        samples: The images, with the sizes of their predictions.
        config: Mode, scales, windows and batch size.
        padding_multiple: Sides are padded to a multiple of this, in pixels.
        crop_size: (height, width) of the windows if the config gives none.
        device: The device to predict on.
        precision: Precision of the forward pass; float32 if it is `auto`, which is chosen for trainings alone.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        for batch in _batches(samples, config.batch_size):
            images = torch.stack([sample.image for sample in batch])
            if device.type == "cuda":
                images = images.pin_memory()
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                scores = predict_scores(
                    network,
                    images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last),
                    config,
                    padding_multiple=padding_multiple,
                    crop_size=crop_size,
                    size=batch[0].size,
                )
                # max gives the same indices as argmax and is several times faster on a CPU.
                predicted = scores.max(dim=1).indices
            yield batch, predicted
    finally:
        for module, training in modes:
            module.training = training


def predict_scores(
    network: Network,
    images: Tensor,
    config: EvaluationConfig,
    *,
    padding_multiple: int,
    crop_size: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Return class scores (B, K, *size) float32 for images (B, 3, h, w); the highest score is the prediction.

    A view is the image at one scale, mirrored or not. A single view gives its logits; several views give the sum of
    their softmax probabilities.

    Args:
        network: Maps normalised images to logits.
        images: (B, 3, h, w) float, normalised.
        config: Mode, scales, mirroring and windows.
        padding_multiple: Sides are padded right and down to a multiple of this, in pixels, with zeros (the mean
            colour).
        crop_size: (height, width) of the windows if the config gives none.
        size: (height, width) of the scores.
    """
    scales = config.scales if config.mode in ("ms", "mscrop") else (1.0,)
    window = (config.crop_size or crop_size) if config.mode in ("sscrop", "mscrop") else None
    views = [(scale, mirrored) for scale in scales for mirrored in ((False, True) if config.flip else (False,))]
    total: Tensor | None = None
    for scale, mirrored in views:
        view = _resized(images, _scaled_size(images, scale))
        if mirrored:
            view = view.flip(-1)
        if window is None:
            logits = _image_logits(network, view, padding_multiple)
        else:
            logits = _window_logits(network, view, window, padding_multiple)
        if mirrored:
            logits = logits.flip(-1)
        logits = _resized(logits, size)
        if len(views) == 1:
            return logits
        probabilities = logits.softmax(dim=1)
        total = probabilities if total is None else total.add_(probabilities)
    assert total is not None, "a config has at least one scale"
    return total


def _batches(samples: Iterable[AnyImage], batch_size: int) -> Iterator[list[AnyImage]]:
    batch: list[AnyImage] = []
    for sample in samples:
        if batch and (
            len(batch) == batch_size or (sample.image.shape, sample.size) != (batch[0].image.shape, batch[0].size)
        ):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _image_logits(network: Network, images: Tensor, padding_multiple: int) -> Tensor:
    height, width = images.shape[-2:]
    return _padded_logits(network, images, (height, width), padding_multiple)


def _window_logits(network: Network, images: Tensor, window: tuple[int, int], padding_multiple: int) -> Tensor:
    """Return the mean logits over windows that overlap by a third; an image smaller than the window is padded to it."""
    height, width = images.shape[-2:]
    total: Tensor | None = None
    num_windows = images.new_zeros(height, width)
    for top in _window_starts(height, window[0]):
        for left in _window_starts(width, window[1]):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            logits = _padded_logits(network, images[..., rows, columns], window, padding_multiple)
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], height, width)
            total[..., rows, columns] += logits
            num_windows[rows, columns] += 1
    assert total is not None, "an image has at least one window"
    return total.div_(num_windows)


def _window_starts(length: int, window: int) -> list[int]:
    stride = max(1, window * 2 // 3)
    return [*range(0, length - window, stride), max(0, length - window)]


def _padded_logits(network: Network, images: Tensor, room: tuple[int, int], padding_multiple: int) -> Tensor:
    """Return float32 logits at the images' size.

    The network sees the images padded to `room`, which is itself padded to the multiple.
    """
    height, width = images.shape[-2:]
    padded_height, padded_width = (math.ceil(side / padding_multiple) * padding_multiple for side in room)
    padded = F.pad(images, (0, padded_width - width, 0, padded_height - height))
    logits = network(padded).logits.float()
    return _resized(logits, (padded_height, padded_width))[..., :height, :width]


def _scaled_size(images: Tensor, scale: float) -> tuple[int, int]:
    height, width = images.shape[-2:]
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)
