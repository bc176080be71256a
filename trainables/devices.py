"""The device that computes: what makes it wait, and copies to it.

A GPU computes while Python goes on. Whoever reads a value of a tensor there, or asks for a shape that depends on
values, waits until everything before is done.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from trainables.errors import Fault, InputError


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device that a config trains on; `auto` is a GPU if there is one.

    Raises:
        InputError: the config asks for a GPU, but this process sees none.
    """
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        fix = "write auto or cpu; in a search, resources.gpu decides which GPUs a trial sees"
        raise InputError([Fault("train.device", "cuda, but no GPU is visible to this process", fix)])
    return torch.device("cuda" if has_gpu and wanted != "cpu" else "cpu")


def reading_is_free(tensor: Tensor) -> bool:
    """Return True if the values of a tensor can be read without waiting for an accelerator."""
    return tensor.is_cpu


def on_device(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels on a device.

    On a GPU, each batch is copied on a stream of its own while the batch before is computed. The copy does not wait if
    the batches are in pinned memory.
    """
    if device.type != "cuda":
        for images, labels in batches:
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        return
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: tuple[Tensor, Tensor, torch.cuda.Event] | None = None
    for images, labels in batches:
        with torch.cuda.stream(stream):
            copied = images.to(device, non_blocking=True), labels.to(device, non_blocking=True), stream.record_event()
        if ahead is not None:
            yield _after_its_copy(*ahead)
        ahead = copied
    if ahead is not None:
        yield _after_its_copy(*ahead)


def _after_its_copy(images: Tensor, labels: Tensor, copied: torch.cuda.Event) -> tuple[Tensor, Tensor]:
    computing = torch.cuda.current_stream(images.device)
    computing.wait_event(copied)
    for tensor in (images, labels):
        tensor.record_stream(computing)  # its memory is not reused before the computation is done with it
    return images, labels
