"""The pixel contrast loss: supervised InfoNCE over pixel embeddings, with its gradient in closed form."""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_ELEMENTS = 2**21
"""Similarities that are held at once: 8 MB in float32, about what a processor's cache still serves."""
_MIN_ROWS = 64
"""Fewest anchors of one class that are multiplied at once: below, matrix products lose their speed."""


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
    """Mean over anchors of the mean over their positives of -log p(positive against all negatives), a scalar.

    With s_ij = z_i . k_j / T, positives the keys of an anchor's own class, negatives all other keys and
    n_i = log sum_{j negative} exp(s_ij):

        L = T / T_base * mean_i mean_{j positive} softplus(n_i - s_ij)

    This equals equation 3 of Wang et al. (ICCV 2021, arXiv 2101.11939) and, unlike quotients of exponentials,
    neither under- nor overflows. Departures: T_base is T unless given, so that the temperature does not scale the
    loss; anchors without positives are left out of the mean. Without any pair to compare the loss is a differentiable
    0. It is computed in float32 (float64 for float64 inputs), also under autocast. Memory grows with N + M, not N * M.

    Args:
        anchors: (N, D) float; normalised to unit length or not.
        anchor_labels: (N,) integer class of every anchor.
        keys: (M, D) float.
        key_labels: (M,) integer class of every key.
        temperature: T > 0.
        base_temperature: T_base > 0; None means T.
        keys_are_anchors: the first N keys are the anchors themselves; key i is then no positive of anchor i.
        memory: further keys that take no gradient, (Q, D) float, and the class of each, (Q,) integer.
        max_positives: at most this many of an anchor's positives take part, drawn at random without replacement for
            every anchor; None means all.
        negative_ratio: at most this many negatives for each positive that takes part, rounded, but at least one; drawn
            likewise. None means all.
        generator: the only source of these draws; unused where neither limit leaves anything out.
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
    """How many of its positives and negatives an anchor is compared with; None means all."""

    max_positives: int | None
    negative_ratio: float | None

    def kept(self, num_positives: int, num_negatives: int) -> tuple[int, int]:
        """Numbers of positives and negatives that take part, of an anchor that has so many."""
        positives = num_positives if self.max_positives is None else min(self.max_positives, num_positives)
        if self.negative_ratio is None:
            return positives, num_negatives
        return positives, min(max(1, round(self.negative_ratio * positives)), num_negatives)

    def binding(
        self, anchor_labels: Tensor, key_labels: Tensor, memory_labels: Tensor, *, keys_are_anchors: bool
    ) -> set[str]:
        """Names of the limits that leave out a pair of the loss with these labels."""
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
    """Loss and gradient in one pass over the similarities, a chunk of anchors of one class at a time.

    With w = scale / (anchors that have positives * positives of the anchor) the derivatives by s_ij are

        positive j:   -w * sigmoid(n_i - s_ij)
        negative j:    w * (sum over positives k of sigmoid(n_i - s_ik)) * exp(s_ij - n_i)

    Anchors, keys and memory are each sorted by class, so the positives of a chunk are one range of columns in the keys
    and one in the memory behind them, and need no mask. The sort is stable: where the first keys are the anchors, the
    similarity of an anchor with itself is on a diagonal.
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
            # Without negatives every softplus(-inf) is 0, and so is its gradient.
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
    """Anchors of one class against all keys: the sum of their terms, a scalar, and its derivatives by s_ij.

    Args:
        anchors: (N, D) float, divided by the temperature.
        keys: (M, D) float.
        own: the keys of the anchors' class, in two ranges.
        itself: the first anchor's place in the first range, the others follow; None where keys are others.
        kept: numbers of positives and of negatives that take part.
        generator: the source of the choice of them.
        weight: factor on every term.
        with_gradient: else None takes the place of the derivatives, (N, M).
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
    """Give a random choice of pairs the similarity that takes no part; changes in place.

    Rows are drawn one after another, so that on the CPU the draws do not depend on how anchors are put into chunks.

    Args:
        positives: (N, P) float; inf where the key is no positive, which is once a row if `is_one_itself`.
        negatives: (N, M) float; -inf where the key is no negative, which is in P columns.
        is_one_itself: one of the P is the anchor.
        kept: numbers of positives and of negatives that remain in every row.
        generator: the only source of randomness.
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
    """Where each class lies in every one of the given labels once they are sorted: a range each, class by class."""
    classes, index = torch.unique(torch.cat(labels), return_inverse=True)
    parts = index.split([len(part) for part in labels])
    ends = torch.stack([torch.bincount(part, minlength=len(classes)).cumsum(0) for part in parts], 1).tolist()
    starts = [[0] * len(labels), *ends]
    return [[range(a, b) for a, b in zip(start, end, strict=True)] for start, end in pairwise(starts)]
