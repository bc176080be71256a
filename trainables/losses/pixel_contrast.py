"""The pixel contrast loss: supervised InfoNCE over pixel embeddings, with its gradient in closed form."""

from itertools import pairwise
from typing import Any

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
            torch.is_grad_enabled() and (anchors.requires_grad or keys.requires_grad),
        )
    return loss


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
            weight = scale / (num_counted * (num_own - num_self))
            for start in rows[::chunk]:
                part = anchors[start : min(start + chunk, rows.stop)]
                itself = start - rows.start if keys_are_anchors else None
                part_loss, gradient = _compare(part, keys, own, itself, weight, with_gradient)
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
        return loss_grad * anchors_grad, None, loss_grad * keys_grad, *[None] * 7


def _compare(
    anchors: Tensor, keys: Tensor, own: tuple[slice, slice], itself: int | None, weight: float, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Anchors of one class against all keys: the sum of their terms, a scalar, and its derivatives by s_ij.

    Args:
        anchors: (N, D) float, divided by the temperature.
        keys: (M, D) float.
        own: the keys of the anchors' class, in two ranges.
        itself: the first anchor's place in the first range, the others follow; None where keys are others.
        weight: factor on every term.
        with_gradient: else None takes the place of the derivatives, (N, M).
    """
    similarities = anchors @ keys.T
    positives = torch.cat([similarities[:, columns] for columns in own], 1)
    if itself is not None:
        positives.diagonal(itself).fill_(torch.inf)
    for columns in own:
        similarities[:, columns] = -torch.inf
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


def _ranges_by_class(*labels: Tensor) -> list[list[range]]:
    """Where each class lies in every one of the given labels once they are sorted: a range each, class by class."""
    classes, index = torch.unique(torch.cat(labels), return_inverse=True)
    parts = index.split([len(part) for part in labels])
    ends = torch.stack([torch.bincount(part, minlength=len(classes)).cumsum(0) for part in parts], 1).tolist()
    starts = [[0] * len(labels), *ends]
    return [[range(a, b) for a, b in zip(start, end, strict=True)] for start, end in pairwise(starts)]
