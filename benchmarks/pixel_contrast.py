"""Time and memory of the contrast loss against a loop implementation: python -m benchmarks.pixel_contrast [--keys N].

Both sides get the embeddings, labels and predictions of the same batch. They choose anchors and compute the loss and
its gradient with respect to the embeddings, on one CPU thread. The loop side works like the first public implementation
of Wang et al. (ICCV 2021): a Python loop over images and classes with one indexing operation and one write per group,
then quotients of exponentials over the whole matrix with tiled masks. Ours is measured with embeddings in both memory
formats, and beside its bare products: the matrix of similarities, and one product of such a matrix with the anchors.
Last, 1024 anchors are compared with a memory bank of 120,000 rows.

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
from trainables.allocator import keep_freed_memory
from trainables.config import IGNORE_INDEX, ContrastConfig
from trainables.losses.anchor_sampling import sample_anchors
from trainables.losses.gather import gather_pixels
from trainables.losses.onednn import exact_onednn_products
from trainables.losses.pixel_contrast import pixel_contrast_loss

NUM_DIMS = 256
NUM_REPEATS = 5
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
    products_s: float
    """Time of the bare products of so many anchors."""


def make_batch(case: Case, memory_format: torch.memory_format = torch.contiguous_format) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (case.num_images, case.side, case.side)
    blocks = torch.randint(case.num_classes, (case.num_images, case.side // 8, case.side // 8), generator=generator)
    labels = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    guesses = torch.randint(case.num_classes, shape, generator=generator)
    predictions = torch.where(torch.rand(shape, generator=generator) < 0.3, guesses, labels)
    embeddings = torch.empty(case.num_images, NUM_DIMS, case.side, case.side).normal_(generator=generator)
    for image in embeddings:
        F.normalize(image, dim=0, out=image)
    embeddings = embeddings.contiguous(memory_format=memory_format)
    return Batch(embeddings.requires_grad_(), labels.flatten(1), predictions.flatten(1))


def ours(case: Case, batch: Batch) -> tuple[Tensor, int]:
    chosen = sample_anchors(case.config(), batch.labels, batch.predictions, torch.Generator().manual_seed(1))
    anchors = gather_pixels(batch.embeddings, chosen.positions)
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


class Side(NamedTuple):
    compute: Callable[[Case, Batch], tuple[Tensor, int]]
    memory_format: torch.memory_format
    num_repeats: int


SIDES = {
    "loop": Side(loop, torch.contiguous_format, 3),
    "ours": Side(ours, torch.contiguous_format, 9),
    "ours, channels last": Side(ours, torch.channels_last, 9),
}


def measure(side: str, case: Case) -> Measured:
    """Measure the memory of a first run and the median time of later ones; call it in a new process."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a training; it makes the loop faster, too
    compute, memory_format, num_repeats = SIDES[side]
    warm_up = Case(2, 16, 2, 64, 8)
    compute(warm_up, make_batch(warm_up))[0].backward()
    batch = make_batch(case, memory_format)

    held = _memory("VmRSS")
    loss, num_anchors = compute(case, batch)
    loss.backward()
    peak = _memory("VmHWM") - held

    forwards, backwards = [], []
    for _ in range(num_repeats):
        batch.embeddings.grad = None
        start = time.process_time()
        loss, _ = compute(case, batch)
        middle = time.process_time()
        loss.backward()
        forwards.append(middle - start)
        backwards.append(time.process_time() - middle)
    products = _seconds_of_products(num_anchors)
    return Measured(statistics.median(forwards), statistics.median(backwards), peak, num_anchors, products)


def _seconds_of_products(num_anchors: int) -> float:
    """Return the time of the similarities and of one product with the anchors, by whichever library is faster."""
    anchors, matrix = torch.randn(num_anchors, NUM_DIMS), torch.randn(num_anchors, num_anchors)

    def products() -> None:
        torch.mm(anchors, anchors.T, out=matrix)
        torch.mm(matrix, anchors)

    seconds = [_median_seconds(products, 9)]
    with exact_onednn_products():
        seconds.append(_median_seconds(products, 9))
    return min(seconds)


NUM_BANK_ANCHORS, NUM_BANK_ROWS = 1024, 5000


def bank_of(num_classes: int) -> list[tuple[Tensor, Tensor]]:
    """Return two queues, each with 5000 unit vectors (K * 5000, D) per class, and their classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_classes).repeat_interleave(NUM_BANK_ROWS)
    rows = (torch.randn(len(labels), NUM_DIMS, generator=generator) for _ in range(2))
    return [(F.normalize(of_queue, dim=1, out=of_queue), labels) for of_queue in rows]


def measure_bank(num_classes: int) -> Measured:
    """Measure 1024 anchors against themselves and a full memory bank; call it in a new process."""
    torch.set_num_threads(1)
    keep_freed_memory()
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(num_classes, (NUM_BANK_ANCHORS,), generator=generator)
    anchors = F.normalize(torch.randn(NUM_BANK_ANCHORS, NUM_DIMS, generator=generator), dim=1).requires_grad_()
    memory = bank_of(num_classes)

    def loss() -> Tensor:
        return pixel_contrast_loss(
            anchors, labels, anchors, labels, temperature=TEMPERATURE, keys_are_anchors=True, memory=memory
        )

    torch.autograd.grad(loss_of_few(anchors, labels), anchors)
    held = _memory("VmRSS")
    torch.autograd.grad(loss(), anchors)
    peak = _memory("VmHWM") - held
    forwards, backwards = [], []
    for _ in range(NUM_REPEATS):
        start = time.process_time()
        value = loss()
        middle = time.process_time()
        torch.autograd.grad(value, anchors)
        forwards.append(middle - start)
        backwards.append(time.process_time() - middle)
    return Measured(statistics.median(forwards), statistics.median(backwards), peak, NUM_BANK_ANCHORS, 0.0)


def loss_of_few(anchors: Tensor, labels: Tensor) -> Tensor:
    few = anchors[:64]
    return pixel_contrast_loss(few, labels[:64], few, labels[:64], temperature=TEMPERATURE, keys_are_anchors=True)


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
    return MemorySpeed(*(_median_seconds(operation, NUM_REPEATS) for operation in operations))


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
                    f"backward {measured.backward_s * 1e3:7.1f} ms, peak {measured.peak_bytes / 2**20:6.1f} MiB, "
                    f"bare products {measured.products_s * 1e3:6.1f} ms"
                )
            if case == KNOWN_CASE:
                _compare_with_known(by_side["loop"], fresh_process.submit(memory_speed).result())
            of_case = figures_of(case, by_side)
            for name, figure in of_case.items():
                if " / " in name:
                    print(f"  {name.removeprefix(f'{case}: ')}: {figure.value:.2f}")
            figures |= of_case
        bank = fresh_process.submit(measure_bank, 12).result()
    seconds, peak = bank.forward_s + bank.backward_s, bank.peak_bytes / 2**20
    print(f"\n{NUM_BANK_ANCHORS} anchors x 120,000 rows of a memory bank: {seconds:.2f} s, peak {peak:.1f} MiB")
    figures["memory bank of 120,000 rows: time"] = Figure(seconds, "s", "lower")
    figures["memory bank of 120,000 rows: peak memory"] = Figure(peak, "MiB", "lower")
    print("\nours computes the gradient in closed form with the loss: its share of it is in the forward figure.")
    record.write("pixel_contrast", arguments, figures)


def figures_of(case: Case, by_side: Mapping[str, Measured]) -> dict[str, Figure]:
    """Return times and memory of all sides, and their ratios."""
    theirs = by_side["loop"]
    figures, ratios = {}, {}
    for side, measured in by_side.items():
        figures[f"{case}, {side}: forward"] = Figure(1000 * measured.forward_s, "ms", "lower")
        figures[f"{case}, {side}: backward"] = Figure(1000 * measured.backward_s, "ms", "lower")
        figures[f"{case}, {side}: peak memory"] = Figure(measured.peak_bytes / 2**20, "MiB", "lower")
        if side == "loop":
            continue
        both = measured.forward_s + measured.backward_s
        ratios[f"{case}: loop / {side}, time"] = Figure((theirs.forward_s + theirs.backward_s) / both, "", "higher")
        ratios[f"{case}: loop / {side}, memory"] = Figure(theirs.peak_bytes / measured.peak_bytes, "", "higher")
        ratios[f"{case}: {side} / bare products, time"] = Figure(both / measured.products_s, "", "lower")
    return figures | ratios


def _compare_with_known(measured: Measured, speed: MemorySpeed) -> None:
    forward, backward = KNOWN_LOOP_SECONDS
    print(
        f"  loop forward is {measured.forward_s / forward:.2f} x the {forward * 1e3:.0f} ms known of the public "
        f"implementation; {speed.layout_copy_s * 1e3:.0f} ms of it copy the embeddings to (B, h * w, D)\n"
        f"  loop backward is {measured.backward_s / backward:.2f} x the {backward * 1e3:.0f} ms known; every group "
        f"makes a gradient buffer of the embeddings' size, {speed.zeros_s * 1e3:.0f} ms for the zeros alone"
    )


def _median_seconds(operation: Callable[[], object], num_repeats: int) -> float:
    times = []
    for _ in range(num_repeats):
        start = time.process_time()
        operation()
        times.append(time.process_time() - start)
    return statistics.median(times)


def _memory(field: str) -> int:
    """Return a memory figure of this process in bytes from Linux: VmRSS (current) or VmHWM (peak)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
