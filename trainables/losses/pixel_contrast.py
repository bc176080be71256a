"""The pixel contrast loss: supervised InfoNCE over pixel embeddings, with its gradient in closed form."""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_ELEMENTS = 2**21
"""Number of similarities that are held at once: 8 MB in float32, about what still fits a processor's cache."""
_MIN_ROWS = 64
"""Minimum number of anchors of one class that are multiplied at once. Matrix products are slow with fewer."""


def pixel_contrast_loss(
    anchors: Tensor,
    anchor_labels: Tensor,
    keys: Tensor,
    key_labels: Tensor,
    *,
    temperature: float,
    base_temperature: float | None = None,
    keys_are_anchors: bool = False,
    memory: tuple[Tensor, Tensor] | None = None,
    max_positives: int | None = None,
    negative_ratio: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the mean over anchors of the mean over their positives of -log p(positive against all negatives), a
    scalar.

    With s_ij = z_i . k_j / T, where the positives are the keys of the anchor's own class and the negatives are all
    other keys, and with n_i = log sum_{j negative} exp(s_ij):

        L = T / T_base * mean_i mean_{j positive} softplus(n_i - s_ij)

    This equals equation 3 of Wang et al. (ICCV 2021, arXiv 2101.11939) and, unlike quotients of exponentials, it
    neither underflows nor overflows. There are two departures: T_base is T unless given, so that the temperature does
    not scale the loss, and anchors without positives are left out of the mean. If there is no pair to compare, the loss
    is a differentiable 0. It is computed in float32 (float64 for float64 inputs), also under autocast. Memory grows
    with N + M, not with N * M.

    Args:
        anchors: (N, D) float; they need not have unit length.
        anchor_labels: (N,) integer class of each anchor.
        keys: (M, D) float.
        key_labels: (M,) integer class of each key.
        temperature: T > 0.
        base_temperature: T_base > 0; None means T.
        keys_are_anchors: True if the first N keys are the anchors themselves; key i is then no positive of anchor i.
        memory: Additional keys without gradient, (Q, D) float, and their classes, (Q,) integer.
        max_positives: Maximum number of positives per anchor, drawn at random without replacement for each anchor; None
            means all.
        negative_ratio: Maximum number of negatives per positive that takes part, drawn in the same way. The product is
            rounded and at least 1. None means all.
        generator: The only source of these draws. It is not used if neither limit leaves anything out.
    """
    assert not keys_are_anchors or len(keys) >= len(anchors), "the first N keys must be the anchors"
    dtype = torch.promote_types(torch.promote_types(anchors.dtype, keys.dtype), torch.float32)
    memory_keys, memory_labels = (keys[:0], key_labels[:0]) if memory is None else memory
    with torch.autocast(anchors.device.type, enabled=False):
        loss: Tensor = _PixelContrast.apply(
            anchors.to(dtype),
            anchor_labels,
            keys.to(dtype),
            key_labels,
            memory_keys.detach().to(dtype),
            memory_labels,
            temperature,
            1.0 if base_temperature is None else temperature / base_temperature,
            keys_are_anchors,
            PairLimits(max_positives, negative_ratio),
            generator,
            torch.is_grad_enabled() and (anchors.requires_grad or keys.requires_grad),
        )
    return loss


class PairLimits(NamedTuple):
    """Limits on how many positives and negatives an anchor is compared with; None means all."""

    max_positives: int | None
    negative_ratio: float | None

    def kept(self, num_positives: int, num_negatives: int) -> tuple[int, int]:
        """Return how many of these positives and negatives of an anchor take part."""
        positives = num_positives if self.max_positives is None else min(self.max_positives, num_positives)
        if self.negative_ratio is None:
            return positives, num_negatives
        return positives, min(max(1, round(self.negative_ratio * positives)), num_negatives)

    def binding(
        self, anchor_labels: Tensor, key_labels: Tensor, memory_labels: Tensor, *, keys_are_anchors: bool
    ) -> set[str]:
        """Return the names of the limits that leave out a pair from the loss with these labels."""
        found: set[str] = set()
        if self == PairLimits(None, None):
            return found
        num_self, num_keys = int(keys_are_anchors), len(key_labels) + len(memory_labels)
        for rows, *own in _ranges_by_class(anchor_labels, key_labels, memory_labels):
            num_own = sum(map(len, own))
            if rows and num_self < num_own < num_keys:
                num_positives, num_negatives = num_own - num_self, num_keys - num_own
                kept = self.kept(num_positives, num_negatives)
                found |= {"max_positives"} if kept[0] < num_positives else set()
                found |= {"negative_ratio"} if kept[1] < num_negatives else set()
        return found


class _PixelContrast(torch.autograd.Function):
    """Loss and gradient in one pass over the similarities, one chunk of anchors of one class at a time.

    With w = scale / (number of anchors that have positives * number of positives of the anchor), the derivatives with
    respect to s_ij are

        positive j:   -w * sigmoid(n_i - s_ij)
        negative j:    w * (sum over positives k of sigmoid(n_i - s_ik)) * exp(s_ij - n_i)

    Anchors, keys and memory are each sorted by class. The positives of a chunk are therefore one range of columns in
    the keys and one in the memory behind them, and no mask is needed. The sort is stable: if the first keys are the
    anchors, the similarity of each anchor with itself lies on a diagonal.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        anchor_labels: Tensor,
        keys: Tensor,
        key_labels: Tensor,
        memory_keys: Tensor,
        memory_labels: Tensor,
        temperature: float,
        scale: float,
        keys_are_anchors: bool,
        limits: PairLimits,
        generator: torch.Generator | None,
        with_gradient: bool,
    ) -> Tensor:
        ranges = _ranges_by_class(anchor_labels, key_labels, memory_labels)
        anchor_order, key_order = (labels.argsort(stable=True) for labels in (anchor_labels, key_labels))
        anchors = anchors[anchor_order] / temperature
        num_keys = len(keys)
        keys = torch.cat([keys[key_order], memory_keys[memory_labels.argsort()]])
        num_self = int(keys_are_anchors)
        num_counted = sum(len(rows) for rows, *own in ranges if sum(map(len, own)) > num_self)
        chunk = max(_MIN_ROWS, _CHUNK_ELEMENTS // max(1, len(keys)))

        loss = anchors.new_zeros(())
        anchors_grad, keys_grad = (torch.zeros_like(x) if with_gradient else None for x in (anchors, keys[:num_keys]))
        for rows, of_keys, of_memory in ranges:
            num_own = len(of_keys) + len(of_memory)
            # Without negatives, every softplus(-inf) is 0, and so is its gradient.
            if not rows or not num_self < num_own < len(keys):
                continue
            own = (
                slice(of_keys.start, of_keys.stop),
                slice(num_keys + of_memory.start, num_keys + of_memory.stop),
            )
            kept = limits.kept(num_own - num_self, len(keys) - num_own)
            weight = scale / (num_counted * kept[0])
            for start in rows[::chunk]:
                part = anchors[start : min(start + chunk, rows.stop)]
                itself = start - rows.start if keys_are_anchors else None
                part_loss, gradient = _compare(part, keys, own, itself, kept, generator, weight, with_gradient)
                loss += part_loss
                if gradient is None or anchors_grad is None or keys_grad is None:
                    continue
                torch.mm(gradient, keys, out=anchors_grad[start : start + len(part)])
                keys_grad.addmm_(gradient[:, :num_keys].T, part)
                del gradient

        if anchors_grad is not None and keys_grad is not None:
            ctx.save_for_backward(
                torch.empty_like(anchors_grad).index_copy_(0, anchor_order, anchors_grad.div_(temperature)),
                torch.empty_like(keys_grad).index_copy_(0, key_order, keys_grad),
            )
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor) -> tuple[Tensor | None, ...]:
        anchors_grad, keys_grad = ctx.saved_tensors
        return loss_grad * anchors_grad, None, loss_grad * keys_grad, *[None] * 9


def _compare(
    anchors: Tensor,
    keys: Tensor,
    own: tuple[slice, slice],
    itself: int | None,
    kept: tuple[int, int],
    generator: torch.Generator | None,
    weight: float,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Compare anchors of one class with all keys: return the sum of their terms and its derivatives with respect to
    s_ij.

    Args:
        anchors: (N, D) float, divided by the temperature.
        keys: (M, D) float.
        own: The keys of the anchors' class, in two ranges.
        itself: Index in the first range at which the first anchor lies, followed by the others; None if the keys are
            not the anchors.
        kept: Number of positives and of negatives that take part.
        generator: The source of their random choice.
        weight: Factor on every term.
        with_gradient: If False, None is returned instead of the derivatives, (N, M).
    """
    similarities = anchors @ keys.T
    positives = torch.cat([similarities[:, columns] for columns in own], 1)
    if itself is not None:
        positives.diagonal(itself).fill_(torch.inf)
    for columns in own:
        similarities[:, columns] = -torch.inf
    _leave_out(positives, similarities, itself is not None, kept, generator)
    highest = similarities.amax(1, keepdim=True)
    exponentials = similarities.sub_(highest).exp_()
    total = exponentials.sum(1, keepdim=True)
    margins = positives.neg_().add_(highest + total.log())
    loss = weight * F.softplus(margins).sum()
    if not with_gradient:
        return loss, None
    pulls = margins.sigmoid_().mul_(weight)
    gradient = exponentials.mul_(pulls.sum(1, keepdim=True) / total)
    num_first = own[0].stop - own[0].start
    gradient[:, own[0]], gradient[:, own[1]] = pulls[:, :num_first].neg_(), pulls[:, num_first:].neg_()
    return loss, gradient


def _leave_out(
    positives: Tensor, negatives: Tensor, is_one_itself: bool, kept: tuple[int, int], generator: torch.Generator | None
) -> None:
    """Exclude all but a random choice of pairs by setting their similarity in place.

    Rows are drawn one after another, so on the CPU the draws do not depend on how anchors are split into chunks.

    Args:
        positives: (N, P) float; inf where the key is no positive, which is once per row if `is_one_itself`.
        negatives: (N, M) float; -inf where the key is no negative, which is in P columns.
        is_one_itself: True if one of the P keys is the anchor.
        kept: Number of positives and of negatives that remain in each row.
        generator: The only source of randomness.
    """
    num_own = positives.shape[1]
    sides = (
        (positives, torch.inf, num_own - int(is_one_itself), kept[0]),
        (negatives, -torch.inf, negatives.shape[1] - num_own, kept[1]),
    )
    limited = [(pairs, absent, num_kept) for pairs, absent, num_pairs, num_kept in sides if num_kept < num_pairs]
    if not limited:
        return
    assert generator is not None, "a choice of pairs needs a generator"
    widths = [pairs.shape[1] for pairs, _, _ in limited]
    noise = torch.rand(len(positives), sum(widths), generator=generator, device=generator.device)
    parts = torch.split(noise.to(positives.device), widths, dim=1)
    for (pairs, absent, num_kept), ranks in zip(limited, parts, strict=True):
        chosen = ranks.masked_fill(pairs == absent, torch.inf).topk(num_kept, dim=1, largest=False).indices
        pairs.copy_(torch.full_like(pairs, absent).scatter_(1, chosen, pairs.gather(1, chosen)))


def _ranges_by_class(*labels: Tensor) -> list[list[range]]:
    """Return, class by class, the range that the class occupies in each of the given labels once they are sorted."""
    classes, index = torch.unique(torch.cat(labels), return_inverse=True)
    parts = index.split([len(part) for part in labels])
    ends = torch.stack([torch.bincount(part, minlength=len(classes)).cumsum(0) for part in parts], 1).tolist()
    starts = [[0] * len(labels), *ends]
    return [[range(a, b) for a, b in zip(start, end, strict=True)] for start, end in pairwise(starts)]
