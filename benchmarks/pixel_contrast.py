"""Time and memory of the contrast loss against a loop implementation: python -m benchmarks.pixel_contrast [--keys N].

Both sides get the embeddings, labels and predictions of the same batch. They choose anchors and compute the loss and
its gradient with respect to the embeddings, on one CPU thread. The loop side works like the first public implementation
of Wang et al. (ICCV 2021): a Python loop over images and classes with one indexing operation and one write per group,
then quotients of exponentials over the whole matrix with tiled masks.

With `--keys N`, the script instead compares 6000 anchors of 64 dimensions with N keys, in a new process. It checks
value and gradient against the plain formula in float64.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import record
from benchmarks.record import Figure
from trainables.config import IGNORE_INDEX, ContrastConfig
from trainables.losses.anchor_sampling import sample_anchors
from trainables.losses.pixel_contrast import pixel_contrast_loss

NUM_DIMS = 256
NUM_REPEATS = 3
TEMPERATURE = 0.1
KNOWN_LOOP_SECONDS = (0.083, 3.2)
"""Forward and backward time of the public implementation at B4, 128 x 128, K19, 1024/100, one thread of two cores."""


NUM_POOL_ANCHORS = 6000


class Case(NamedTuple):
    num_images: int
    side: int
    num_classes: int
    max_samples: int
    max_views: int

    def __str__(self) -> str:
        return f"B{self.num_images} {self.side}x{self.side} K{self.num_classes} {self.max_samples}/{self.max_views}"

    def config(self) -> ContrastConfig:
        # The loop only uses classes with more than max_views pixels.
        return ContrastConfig(
            max_samples=self.max_samples,
            max_views=self.max_views,
            min_pixels=self.max_views + 1,
            temperature=TEMPERATURE,
            proj_dim=NUM_DIMS,
        )


KNOWN_CASE = Case(4, 128, 19, 1024, 100)
CASES = (Case(8, 64, 19, 1024, 100), KNOWN_CASE, Case(8, 64, 12, 6000, 100))


class Batch(NamedTuple):
    embeddings: Tensor
    """(B, D, h, w) float32, L2-normalised along D; a leaf with gradient."""
    labels: Tensor
    """(B, h * w) int64."""
    predictions: Tensor
    """(B, h * w) int64, correct for about 70 % of the pixels."""


class Measured(NamedTuple):
    forward_s: float
    backward_s: float
    peak_bytes: int
    """Peak resident memory of the first run in excess of that with only the batch."""
    num_anchors: int


def make_batch(case: Case) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (case.num_images, case.side, case.side)
    blocks = torch.randint(case.num_classes, (case.num_images, case.side // 8, case.side // 8), generator=generator)
    labels = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    guesses = torch.randint(case.num_classes, shape, generator=generator)
    predictions = torch.where(torch.rand(shape, generator=generator) < 0.3, guesses, labels)
    embeddings = torch.empty(case.num_images, NUM_DIMS, case.side, case.side).normal_(generator=generator)
    for image in embeddings:
        F.normalize(image, dim=0, out=image)
    return Batch(embeddings.requires_grad_(), labels.flatten(1), predictions.flatten(1))


def ours(case: Case, batch: Batch) -> tuple[Tensor, int]:
    chosen = sample_anchors(case.config(), batch.labels, batch.predictions, torch.Generator().manual_seed(1))
    num_pixels = batch.labels.shape[1]
    image, pixel = chosen.positions // num_pixels, chosen.positions % num_pixels
    anchors = batch.embeddings.flatten(2)[image, :, pixel]
    loss = pixel_contrast_loss(
        anchors, chosen.labels, anchors, chosen.labels, temperature=TEMPERATURE, keys_are_anchors=True
    )
    return loss, len(anchors)


def loop(case: Case, batch: Batch) -> tuple[Tensor, int]:
    views, classes = loop_anchors(case, batch)
    return loop_loss(views, classes), views.shape[0] * views.shape[1]


def loop_anchors(case: Case, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the embeddings (G, V, D) of V anchors from each of G groups, and the class of every group (G,)."""
    features = batch.embeddings.permute(0, 2, 3, 1).contiguous().view(case.num_images, -1, NUM_DIMS)
    torch.manual_seed(1)
    classes_of = []
    for labels in batch.labels:
        present = [c for c in torch.unique(labels) if c != IGNORE_INDEX]
        classes_of.append([c for c in present if (labels == c).nonzero().shape[0] > case.max_views])
    num_groups = sum(len(classes) for classes in classes_of)
    num_views = min(case.max_samples // num_groups, case.max_views)

    views = torch.zeros(num_groups, num_views, NUM_DIMS)
    group_classes = torch.zeros(num_groups)
    group = 0
    for image, classes in enumerate(classes_of):
        for c in classes:
            of_class = batch.labels[image] == c
            right = batch.predictions[image] == c
            hard = (of_class & ~right).nonzero()
            easy = (of_class & right).nonzero()
            if len(hard) >= num_views / 2 and len(easy) >= num_views / 2:
                num_hard = num_views // 2
            elif len(hard) >= num_views / 2:
                num_hard = num_views - len(easy)
            else:
                num_hard = len(hard)
            hard = hard[torch.randperm(len(hard))[:num_hard]]
            easy = easy[torch.randperm(len(easy))[: num_views - num_hard]]
            views[group] = features[image, torch.cat([hard, easy]), :].squeeze(1)
            group_classes[group] = c
            group += 1
    return views, group_classes


def loop_loss(views: Tensor, classes: Tensor) -> Tensor:
    """Return -log(exp(s_ij) / (exp(s_ij) + sum over negatives of exp(s_ik))), averaged over positives and anchors."""
    num_groups, num_views, _ = views.shape
    same_class = (classes.view(-1, 1) == classes.view(1, -1)).float()
    anchors = torch.cat(views.unbind(1))
    similarities = anchors @ anchors.T / TEMPERATURE
    logits = similarities - similarities.max(1, keepdim=True).values.detach()

    positives = same_class.repeat(num_views, num_views)
    negatives = 1 - positives
    itself = torch.arange(num_groups * num_views).view(-1, 1)
    positives = positives * torch.ones_like(positives).scatter_(1, itself, 0)
    negative_sums = (logits.exp() * negatives).sum(1, keepdim=True)
    log_probabilities = logits - torch.log(logits.exp() + negative_sums)
    return -((positives * log_probabilities).sum(1) / positives.sum(1)).mean()


SIDES: dict[str, Callable[[Case, Batch], tuple[Tensor, int]]] = {"loop": loop, "ours": ours}


def measure(side: str, case: Case) -> Measured:
    """Measure the memory of a first run and the median time of later ones; call it in a new process."""
    torch.set_num_threads(1)
    compute = SIDES[side]
    warm_up = Case(2, 16, 2, 64, 8)
    compute(warm_up, make_batch(warm_up))[0].backward()
    batch = make_batch(case)

    held = _memory("VmRSS")
    loss, num_anchors = compute(case, batch)
    loss.backward()
    peak = _memory("VmHWM") - held

    forwards, backwards = [], []
    for _ in range(NUM_REPEATS):
        batch.embeddings.grad = None
        start = time.perf_counter()
        loss, _ = compute(case, batch)
        middle = time.perf_counter()
        loss.backward()
        forwards.append(middle - start)
        backwards.append(time.perf_counter() - middle)
    return Measured(statistics.median(forwards), statistics.median(backwards), peak, num_anchors)


def difference(case: Case) -> tuple[float, float]:
    """Return the relative difference of the loss and of the gradient (largest entry) on the same anchors."""
    torch.set_num_threads(1)
    views, classes = loop_anchors(case, make_batch(case))
    views = views.detach().requires_grad_()
    expected = loop_loss(views, classes)
    (expected_grad,) = torch.autograd.grad(expected, views)
    labels = classes.long().repeat_interleave(views.shape[1])
    anchors = views.flatten(0, 1)
    loss = pixel_contrast_loss(anchors, labels, anchors, labels, temperature=TEMPERATURE, keys_are_anchors=True)
    (grad,) = torch.autograd.grad(loss, views)
    of_loss = ((loss - expected).abs() / expected.abs()).item()
    return of_loss, ((grad - expected_grad).abs().max() / expected_grad.abs().max()).item()


class MemorySpeed(NamedTuple):
    """Median seconds of the memory operations that limit the loop: moving as much memory as the embeddings take."""

    zeros_s: float
    layout_copy_s: float


def memory_speed() -> MemorySpeed:
    torch.set_num_threads(1)
    embeddings = make_batch(KNOWN_CASE).embeddings.detach()
    operations = (lambda: torch.zeros_like(embeddings), lambda: embeddings.permute(0, 2, 3, 1).contiguous())
    return MemorySpeed(*(_median_seconds(operation) for operation in operations))


class PoolMeasured(NamedTuple):
    seconds: float
    peak_bytes: int
    """Peak resident memory in excess of that with only the keys."""
    loss: float
    keys_grad: npt.NDArray[np.float32]
    """Gradient as an array: the memory of a tensor would end with its process."""


def pool_keys(num_keys: int) -> tuple[Tensor, Tensor]:
    """Return unit vectors (M, 64) in clusters by class, and their 12 classes (M,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(12, (num_keys,), generator=generator)
    centres = torch.randn(12, 64, generator=generator)
    return F.normalize(torch.randn(num_keys, 64, generator=generator) + centres[labels], dim=1), labels


def measure_pool(num_keys: int) -> PoolMeasured:
    """Measure one forward and backward pass of the first keys against all keys; call it in a new process."""
    torch.set_num_threads(1)
    keys, labels = pool_keys(num_keys)
    keys.requires_grad_()

    held, start = _memory("VmRSS"), time.perf_counter()
    anchors, anchor_labels = keys[:NUM_POOL_ANCHORS], labels[:NUM_POOL_ANCHORS]
    loss = pixel_contrast_loss(anchors, anchor_labels, keys, labels, temperature=TEMPERATURE, keys_are_anchors=True)
    loss.backward()
    seconds, peak = time.perf_counter() - start, _memory("VmHWM") - held
    assert keys.grad is not None
    return PoolMeasured(seconds, peak, loss.item(), keys.grad.numpy())


def plain_pool(num_keys: int) -> tuple[float, Tensor]:
    """Return the loss and its gradient by the plain formula in float64, computed for a few anchors at a time."""
    keys, labels = pool_keys(num_keys)
    keys = keys.double().requires_grad_()
    total, rows = 0.0, 20
    for start in range(0, NUM_POOL_ANCHORS, rows):
        similarities = keys[start : start + rows] @ keys.T / TEMPERATURE
        same_class = labels[start : start + rows].unsqueeze(1) == labels
        negatives = similarities.masked_fill(same_class, -torch.inf).logsumexp(1, keepdim=True)
        positives = same_class.clone()
        positives.diagonal(start).fill_(False)
        terms = F.softplus(negatives - similarities).where(positives, 0.0).sum(1) / positives.sum(1)
        part = terms.sum() / NUM_POOL_ANCHORS
        part.backward()
        total += part.item()
    assert keys.grad is not None
    return total, keys.grad


def compare_pool(num_keys: int) -> dict[str, Figure]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as fresh_process:
        measured = fresh_process.submit(measure_pool, num_keys).result()
    print(
        f"{NUM_POOL_ANCHORS} anchors x {num_keys} keys x 64: forward and backward {measured.seconds:.1f} s, "
        f"peak {measured.peak_bytes / 2**20:.0f} MiB beyond the keys",
        flush=True,
    )
    expected, grad = plain_pool(num_keys)
    of_grad = ((torch.from_numpy(measured.keys_grad) - grad).abs().max() / grad.abs().max()).item()
    print(
        f"  loss {measured.loss:.8f}; the formula in float64 {expected:.8f}: differs by "
        f"{abs(measured.loss - expected) / expected:.1e}, its gradient by {of_grad:.1e} of the largest entry"
    )
    return {
        "forward and backward": Figure(measured.seconds, "s", "lower"),
        "peak memory beyond the keys": Figure(measured.peak_bytes / 2**20, "MiB", "lower"),
        "relative error of the loss": Figure(abs(measured.loss - expected) / expected, "", "lower"),
        "relative error of the gradient": Figure(of_grad, "", "lower"),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, help="measure a pool of so many keys instead")
    record.add_option(parser)
    arguments = parser.parse_args()
    if arguments.keys is not None:
        record.write("pixel_contrast --keys", arguments, compare_pool(arguments.keys))
        return
    figures: dict[str, Figure] = {}
    print(f"contrast term, 1 CPU thread, D = {NUM_DIMS}, float32, T = {TEMPERATURE}, torch {torch.__version__}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; above about 1 the times are inflated")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as fresh_process:
        for case in CASES:
            of_loss, of_grad = fresh_process.submit(difference, case).result()
            assert of_loss < 1e-5, f"{case}: the two sides differ by {of_loss:.1e} on the same anchors"
            by_side = {side: fresh_process.submit(measure, side, case).result() for side in SIDES}
            print(f"\n{case}; on the same anchors: loss differs by {of_loss:.1e}, gradient by {of_grad:.1e}")
            for side, measured in by_side.items():
                print(
                    f"  {side}: {measured.num_anchors:5d} anchors, forward {measured.forward_s * 1e3:7.1f} ms, "
                    f"backward {measured.backward_s * 1e3:7.1f} ms, peak {measured.peak_bytes / 2**20:6.1f} MiB"
                )
            if case == KNOWN_CASE:
                _compare_with_known(by_side["loop"], fresh_process.submit(memory_speed).result())
            theirs, mine = by_side["loop"], by_side["ours"]
            both = (theirs.forward_s + theirs.backward_s) / (mine.forward_s + mine.backward_s)
            print(
                f"  loop / ours: forward {theirs.forward_s / mine.forward_s:.2f}, "
                f"backward {theirs.backward_s / mine.backward_s:.1f}, both {both:.1f}, "
                f"peak memory {theirs.peak_bytes / mine.peak_bytes:.1f}"
            )
            figures |= figures_of(case, by_side)
    print("\nours computes the gradient in closed form with the loss: its share of it is in the forward figure.")
    record.write("pixel_contrast", arguments, figures)


def figures_of(case: Case, by_side: Mapping[str, Measured]) -> dict[str, Figure]:
    """Return times and memory of both sides, and how many times those of the loop are larger."""
    theirs, mine = by_side["loop"], by_side["ours"]
    figures = {}
    for side, measured in by_side.items():
        figures[f"{case}, {side}: forward"] = Figure(1000 * measured.forward_s, "ms", "lower")
        figures[f"{case}, {side}: backward"] = Figure(1000 * measured.backward_s, "ms", "lower")
        figures[f"{case}, {side}: peak memory"] = Figure(measured.peak_bytes / 2**20, "MiB", "lower")
    both = (theirs.forward_s + theirs.backward_s) / (mine.forward_s + mine.backward_s)
    figures[f"{case}: loop / ours, time"] = Figure(both, "", "higher")
    figures[f"{case}: loop / ours, memory"] = Figure(theirs.peak_bytes / mine.peak_bytes, "", "higher")
    return figures


def _compare_with_known(measured: Measured, speed: MemorySpeed) -> None:
    forward, backward = KNOWN_LOOP_SECONDS
    print(
        f"  loop forward is {measured.forward_s / forward:.2f} x the {forward * 1e3:.0f} ms known of the public "
        f"implementation; {speed.layout_copy_s * 1e3:.0f} ms of it copy the embeddings to (B, h * w, D)\n"
        f"  loop backward is {measured.backward_s / backward:.2f} x the {backward * 1e3:.0f} ms known; every group "
        f"makes a gradient buffer of the embeddings' size, {speed.zeros_s * 1e3:.0f} ms for the zeros alone"
    )


def _median_seconds(operation: Callable[[], object]) -> float:
    times = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        operation()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _memory(field: str) -> int:
    """Return a memory figure of this process in bytes from Linux: VmRSS (current) or VmHWM (peak)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
