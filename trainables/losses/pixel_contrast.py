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
    """
    assert not keys_are_anchors or len(keys) >= len(anchors), "the first N keys must be the anchors"
    dtype = torch.promote_types(torch.promote_types(anchors.dtype, keys.dtype), torch.float32)
    with torch.autocast(anchors.device.type, enabled=False):
        loss: Tensor = _PixelContrast.apply(
            anchors.to(dtype),
            anchor_labels,
            keys.to(dtype),
            key_labels,
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

    Anchors and keys are sorted by class, so the positives of a chunk are one range of columns and need no mask. The
    sort is stable: where the first keys are the anchors, the similarity of an anchor with itself is on a diagonal.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        anchor_labels: Tensor,
        keys: Tensor,
        key_labels: Tensor,
        temperature: float,
        scale: float,
        keys_are_anchors: bool,
        with_gradient: bool,
    ) -> Tensor:
        anchor_order, key_order = (labels.argsort(stable=True) for labels in (anchor_labels, key_labels))
        anchors, keys = anchors[anchor_order] / temperature, keys[key_order]
        classes = _ranges_by_class(anchor_labels, key_labels)
        num_self = int(keys_are_anchors)
        num_counted = sum(len(rows) for rows, columns in classes if len(columns) > num_self)
        chunk = max(_MIN_ROWS, _CHUNK_ELEMENTS // max(1, len(keys)))

        loss = anchors.new_zeros(())
        anchors_grad, keys_grad = (torch.zeros_like(x) if with_gradient else None for x in (anchors, keys))
        for rows, columns in classes:
            # Without negatives every softplus(-inf) is 0, and so is its gradient.
            if not rows or not num_self < len(columns) < len(keys):
                continue
            own = slice(columns.start, columns.stop)
            weight = scale / (num_counted * (len(columns) - num_self))
            for start in rows[::chunk]:
                part = anchors[start : min(start + chunk, rows.stop)]
                similarities = part @ keys.T
                positives = similarities[:, own].clone()
                if keys_are_anchors:
                    positives.diagonal(start - rows.start).fill_(torch.inf)
                similarities[:, own] = -torch.inf
                highest = similarities.amax(1, keepdim=True)
                exponentials = similarities.sub_(highest).exp_()
                total = exponentials.sum(1, keepdim=True)
                margins = (highest + total.log()).sub(positives)
                loss += weight * F.softplus(margins).sum()
                if anchors_grad is None or keys_grad is None:
                    continue
                pulls = margins.sigmoid_().mul_(weight)
                gradient = exponentials.mul_(pulls.sum(1, keepdim=True) / total)
                gradient[:, own] = pulls.neg_()
                torch.mm(gradient, keys, out=anchors_grad[start : start + len(part)])
                keys_grad.addmm_(gradient.T, part)

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
        return loss_grad * anchors_grad, None, loss_grad * keys_grad, None, None, None, None, None


def _ranges_by_class(anchor_labels: Tensor, key_labels: Tensor) -> list[tuple[range, range]]:
    """Where each class lies in the sorted anchors and in the sorted keys."""
    labels, index = torch.unique(torch.cat([anchor_labels, key_labels]), return_inverse=True)
    of_anchors, of_keys = index.split([len(anchor_labels), len(key_labels)])
    ends = torch.stack([torch.bincount(part, minlength=len(labels)).cumsum(0) for part in (of_anchors, of_keys)], 1)
    starts = [[0, 0], *ends.tolist()]
    return [(range(a, b), range(c, d)) for (a, c), (b, d) in pairwise(starts)]
