"""Time of the Lovasz-softmax and RMI losses against their plain forms: python -m benchmarks.segmentation_losses.

Both sides compute the loss and its gradient with respect to the logits on one CPU thread, in turns. The plain forms
follow the papers: Lovasz sorts the errors of one class after another as floats and takes differences of the Jaccard
loss; RMI takes all regions of the full sigmoid maps in float64 and multiplies them by one another. The second size has
four times the pixels of the first.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import record
from benchmarks.record import Figure
from trainables.allocator import keep_freed_memory
from trainables.config import IGNORE_INDEX
from trainables.losses.lovasz import LovaszSoftmax
from trainables.losses.rmi import ALPHA, POOLING, RADIUS, RegionMutualInformation

NUM_IMAGES, NUM_CLASSES = 6, 11
SIZES = ((128, 160), (256, 320))
NUM_REPEATS = 5

Loss = Callable[[Tensor, Tensor], Tensor]


def plain_lovasz(logits: Tensor, labels: Tensor) -> Tensor:
    valid = labels != IGNORE_INDEX
    probabilities, labels = logits.softmax(1).movedim(1, -1)[valid], labels[valid]
    losses: list[Tensor] = []
    for c in labels.unique().tolist():
        is_class = labels == c
        errors, order = torch.where(is_class, 1 - probabilities[:, c], probabilities[:, c]).sort(descending=True)
        hits = is_class[order].double()
        jaccard = 1 - (hits.sum() - hits.cumsum(0)) / (hits.sum() + (1 - hits).cumsum(0))
        losses.append((errors * jaccard.diff(prepend=jaccard.new_zeros(1))).sum())
    return torch.stack(losses).mean()


def plain_rmi(logits: Tensor, labels: Tensor) -> Tensor:
    """Return half of the mutual information and half of the binary cross entropy, as `RegionMutualInformation(0.5)`."""
    valid = labels != IGNORE_INDEX
    targets = F.one_hot(labels.where(valid, 0), NUM_CLASSES).movedim(-1, 1) * valid.unsqueeze(1)
    cross_entropies = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    cross_entropy = (cross_entropies * valid.unsqueeze(1)).sum() / valid.sum()
    probabilities = logits.sigmoid() * valid.unsqueeze(1)
    of_labels, of_probabilities = (
        F.unfold(F.max_pool2d(maps.double().flatten(0, 1).unsqueeze(1), POOLING, POOLING, POOLING // 2), RADIUS)
        for maps in (targets, probabilities)
    )
    size = RADIUS * RADIUS
    regions = torch.cat([of_probabilities, of_labels], 1)
    regions = regions - regions.mean(2, keepdim=True)
    covariances = regions @ regions.mT + ALPHA * torch.eye(2 * size, dtype=torch.float64)
    log_dets = 2 * torch.linalg.cholesky(covariances).diagonal(dim1=1, dim2=2)[:, size:].log().sum(1)
    total = (log_dets / (2 * size) - math.log(ALPHA) / 2).sum() / NUM_IMAGES
    return 0.5 * total.to(logits.dtype) + 0.5 * cross_entropy


SIDES: dict[str, tuple[Loss, Loss]] = {
    "Lovasz": (plain_lovasz, LovaszSoftmax()),
    "RMI": (plain_rmi, RegionMutualInformation(0.5)),
}


def batch(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return logits, and labels in blocks of 16 x 16 with some that are ignored."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(NUM_CLASSES, (NUM_IMAGES, size[0] // 16, size[1] // 16), generator=generator)
    labels = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)
    labels[:, :8] = IGNORE_INDEX
    return torch.randn(NUM_IMAGES, NUM_CLASSES, *size, generator=generator).requires_grad_(), labels


def compare(name: str, size: tuple[int, int]) -> tuple[float, float, float]:
    """Return the median seconds of the plain form and of ours, and the largest difference of their gradients, relative
    to the largest entry. The gradients are compared in float64, where no two errors are equal.
    """
    logits, labels = batch(size)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(NUM_REPEATS + 1):
        for loss, of_side in zip(SIDES[name], times, strict=True):
            start = time.process_time()
            torch.autograd.grad(loss(logits, labels), logits)
            of_side.append(time.process_time() - start)
    exact = logits.detach().double().requires_grad_()
    expected, gradient = (torch.autograd.grad(loss(exact, labels), exact)[0] for loss in SIDES[name])
    difference = ((gradient - expected).abs().max() / expected.abs().max()).item()
    return statistics.median(times[0][1:]), statistics.median(times[1][1:]), difference


def main() -> None:
    parser = argparse.ArgumentParser()
    record.add_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    figures: dict[str, Figure] = {}
    for name in SIDES:
        ours = []
        for size in SIZES:
            plain_s, ours_s, difference = compare(name, size)
            ours.append(ours_s)
            what = f"{name}, {NUM_IMAGES} x {NUM_CLASSES} x {size[0]} x {size[1]}"
            print(
                f"{what}: plain {1000 * plain_s:.1f} ms, ours {1000 * ours_s:.1f} ms, {plain_s / ours_s:.2f} times as "
                f"fast; gradients differ by {difference:.1e} of the largest entry",
                flush=True,
            )
            figures[f"{what}: ours"] = Figure(1000 * ours_s, "ms", "lower")
            figures[f"{what}: plain / ours"] = Figure(plain_s / ours_s, "", "higher")
            figures[f"{what}: relative difference of the gradients"] = Figure(difference, "", "lower")
        print(f"{name}: four times the pixels take {ours[1] / ours[0]:.2f} times as long")
        figures[f"{name}: time for four times the pixels"] = Figure(ours[1] / ours[0], "", "lower")
    record.write("segmentation_losses", arguments, figures)


if __name__ == "__main__":
    main()
