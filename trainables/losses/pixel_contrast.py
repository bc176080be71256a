"""The pixel contrast loss: supervised InfoNCE over pixel embeddings, with its gradient in closed form."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainables import devices
from trainables.losses.onednn import exact_onednn_products

ABSENT = -1
"""Label of a row that takes no part. Tensors on an accelerator have such rows where their number is not known."""

_CHUNK_ELEMENTS = 2**21
"""Number of similarities that are held at once: 8 MB in float32, about what still fits a processor's cache."""
_MIN_ROWS = 64
"""Minimum number of anchors of one class that are multiplied at once. Matrix products are slow with fewer."""
_KEPT_ELEMENTS = 2**21
"""Number of exponentials that are kept for the gradient."""
_LARGEST_EXPONENT = 40.0
"""Largest similarity whose exponential, and that of its negative, is summed without subtracting the highest one."""
_MASKED_ELEMENTS = 2**25
"""Number of similarities that an accelerator holds at once."""


def pixel_contrast_loss(
    anchors: Tensor,
    anchor_labels: Tensor,
    keys: Tensor,
    key_labels: Tensor,
    *,
    temperature: float,
    base_temperature: float | None = None,
    keys_are_anchors: bool = False,
    memory: Sequence[tuple[Tensor, Tensor]] = (),
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
    with N + M, not with N * M. Rows with a negative label take no part.

    Args:
        anchors: (N, D) float; they need not have unit length.
        anchor_labels: (N,) integer class of each anchor.
        keys: (M, D) float.
        key_labels: (M,) integer class of each key.
        temperature: T > 0.
        base_temperature: T_base > 0; None means T.
        keys_are_anchors: True if the first N keys are the anchors themselves; key i is then no positive of anchor i.
        memory: Additional keys without gradient: any number of tensors (Q, D) float, each with its classes, (Q,)
            integer. If each class is one range of rows, they are not copied.
        max_positives: Maximum number of positives per anchor, drawn at random without replacement for each anchor; None
            means all.
        negative_ratio: Maximum number of negatives per positive that takes part, drawn in the same way. The product is
            rounded and at least 1. None means all.
        generator: The only source of these draws. It is not used if neither limit leaves anything out.
    """
    assert not keys_are_anchors or len(keys) >= len(anchors), "the first N keys must be the anchors"
    dtype = torch.promote_types(torch.promote_types(anchors.dtype, keys.dtype), torch.float32)
    given, with_gradient = (anchors, keys), torch.is_grad_enabled() and (anchors.requires_grad or keys.requires_grad)
    pairs = _Pairs(
        anchor_labels,
        key_labels,
        tuple((rows.detach().to(dtype), labels) for rows, labels in memory),
        temperature,
        1.0 if base_temperature is None else temperature / base_temperature,
        keys_are_anchors,
        PairLimits(max_positives, negative_ratio),
        generator,
    )
    with torch.autocast(anchors.device.type, enabled=False):
        anchors = given[0].to(dtype)
        keys = anchors if given[1] is given[0] else given[1].to(dtype)
        loss: Tensor = _PixelContrast.apply(anchors, keys, pairs, with_gradient)
    return loss


class PairLimits(NamedTuple):
    """Limits on how many positives and negatives an anchor is compared with; None means all."""

    max_positives: int | None
    negative_ratio: float | None

    def kept(self, num_positives: Tensor, num_negatives: Tensor) -> tuple[Tensor, Tensor]:
        """Return how many of these positives and negatives of an anchor take part, int64 of the same shape."""
        positives = num_positives if self.max_positives is None else num_positives.clamp(max=self.max_positives)
        if self.negative_ratio is None:
            return positives, num_negatives
        wanted = (self.negative_ratio * positives.double()).round().clamp(min=1.0, max=2.0**62)
        return positives, wanted.long().minimum(num_negatives)

    def binding(self, anchor_labels: Tensor, key_labels: Tensor, *, keys_are_anchors: bool) -> dict[str, Tensor]:
        """Return for each limit whether it leaves out a pair from the loss with these labels, a bool scalar.

        The labels of the keys include those of the memory.
        """
        if self == PairLimits(None, None):
            return {}
        numbers = _num_pairs(anchor_labels, key_labels, keys_are_anchors)
        is_compared = (numbers[0] > 0) & (numbers[1] > 0)
        return {
            name: (is_compared & (kept < number)).any()
            for name, kept, number in zip(self._fields, self.kept(*numbers), numbers, strict=True)
        }


class _PixelContrast(torch.autograd.Function):
    """Loss and gradient in one pass over the similarities, a chunk of anchors at a time.

    With w = scale / (number of anchors that have positives * number of positives of the anchor), the derivatives with
    respect to s_ij are

        positive j:   -w * sigmoid(n_i - s_ij)
        negative j:    w * (sum over positives k of sigmoid(n_i - s_ik)) * exp(s_ij - n_i)
    """

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, keys: Tensor, pairs: "_Pairs", with_gradient: bool) -> Tensor:
        if not devices.reading_is_free(anchors):
            loss, anchors_grad, keys_grad = _by_mask(anchors, keys, pairs, with_gradient)
        else:
            with exact_onednn_products():
                if anchors is keys and pairs.keys_are_anchors and _is_plain(anchors, pairs):
                    loss, anchors_grad, keys_grad = *_among_anchors(anchors, pairs, with_gradient), None
                else:
                    loss, anchors_grad, keys_grad = _by_class(anchors, keys, pairs, with_gradient)
        ctx.save_for_backward(anchors_grad, keys_grad)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if gradient is None else loss_grad * gradient for gradient in ctx.saved_tensors)
        return *gradients, None, None


class _Pairs(NamedTuple):
    """Everything that decides which rows are compared, and how."""

    anchor_labels: Tensor
    key_labels: Tensor
    memory: Sequence[tuple[Tensor, Tensor]]
    temperature: float
    scale: float
    keys_are_anchors: bool
    limits: PairLimits
    generator: torch.Generator | None


class _Queue(NamedTuple):
    """Keys of which each class occupies one range of rows."""

    rows: Tensor
    grad: Tensor | None
    """Accumulates the gradient of the rows; None if they need none."""
    ranges: Mapping[int, range]
    """Range of each class, in ascending order of the rows. Rows in between take no part."""

    @classmethod
    def of(cls, rows: Tensor, labels: Tensor) -> "_Queue":
        """Group rows by class, without a copy if they already are."""
        ranges = _ranges(labels)
        if ranges is None:
            order = labels.argsort()
            rows, ranges = rows[order], _ranges(labels[order])
            assert ranges is not None, "the labels are sorted"
        return cls(rows, None, ranges)

    def own(self, label: int) -> list[range]:
        """Return the range of a class, if it has one."""
        return [self.ranges[label]] if label in self.ranges else []

    def others(self, label: int) -> list[range]:
        """Return the ranges of all other classes, adjacent ones joined."""
        joined: list[range] = []
        for other, rows in self.ranges.items():
            if other == label:
                continue
            if joined and joined[-1].stop == rows.start:
                joined[-1] = range(joined[-1].start, rows.stop)
            else:
                joined.append(rows)
        return joined


def _ranges(labels: Tensor) -> dict[int, range] | None:
    """Return the range of rows of each class of 0 or more, or None if a class has several."""
    classes, counts = torch.unique_consecutive(labels, return_counts=True)
    ranges: dict[int, range] = {}
    start = 0
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        if label in ranges:
            return None
        if label >= 0:
            ranges[label] = range(start, start + count)
        start += count
    return ranges


def _is_plain(anchors: Tensor, pairs: _Pairs) -> bool:
    """Return True if anchors are only compared among themselves, without limits, and no exponential can overflow."""
    if not len(anchors) or any((labels >= 0).any() for _, labels in pairs.memory):
        return False
    binding = pairs.limits.binding(pairs.anchor_labels, pairs.key_labels, keys_are_anchors=True)
    return not any(binding.values()) and bool(anchors.square().sum(1).amax() <= _LARGEST_EXPONENT * pairs.temperature)


def _among_anchors(anchors: Tensor, pairs: _Pairs, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Compare anchors with one another; each pair is multiplied once.

    With e_ij = exp(s_ij), which is symmetric, and a_i = w * (sum over positives k of sigmoid(n_i - s_ik)) /
    (sum over negatives j of e_ij), the derivative with respect to z_i has a term e_ij (a_i + a_j) z_j / T for each
    negative. Only blocks above the diagonal are computed. Those that do not fit into `_KEPT_ELEMENTS` are computed
    a second time instead of being kept.
    """
    order = pairs.anchor_labels.argsort(stable=True)
    rows = anchors[order]
    ranges = list(_Queue.of(rows, pairs.anchor_labels[order]).ranges.values())
    end = len(rows)
    scaled = rows / pairs.temperature
    loss, grad = rows.new_zeros(()), torch.zeros_like(rows) if with_gradient else None
    num_counted = sum(len(of_class) for of_class in ranges if len(of_class) > 1)
    if len(ranges) > 1 and num_counted:
        blocks = [
            (slice(start, min(start + chunk, of_class.stop)), slice(of_class.stop, end))
            for of_class in ranges[:-1]
            for chunk in [_num_rows(end - of_class.stop)]
            for start in of_class[::chunk]
        ]
        totals = rows.new_zeros(end)
        kept: list[Tensor | None] = []
        room = _KEPT_ELEMENTS
        for block, others in blocks:
            exponentials = torch.mm(scaled[block], rows[others].T).exp_()
            totals[block] += exponentials.sum(1)
            totals[others] += exponentials.sum(0)
            room -= exponentials.numel() if with_gradient else room
            kept.append(exponentials if room >= 0 else None)
            del exponentials
        highest, shares = totals.log().unsqueeze(1), torch.zeros_like(totals)
        for of_class in ranges:
            if len(of_class) == 1:
                continue
            weight = pairs.scale / (num_counted * (len(of_class) - 1))
            own = slice(of_class.start, of_class.stop)
            chunk = _num_rows(len(of_class))
            for start in of_class[::chunk]:
                block = slice(start, min(start + chunk, of_class.stop))
                margins = torch.mm(scaled[block], rows[own].T).neg_().add_(highest[block])
                margins.diagonal(start - of_class.start).fill_(-torch.inf)
                loss += weight * F.softplus(margins).sum()
                if grad is None:
                    continue
                pulls = margins.sigmoid_().mul_(weight)
                shares[block] = pulls.sum(1) / totals[block]
                grad[block].addmm_(pulls, rows[own], alpha=-1)
                grad[own].addmm_(pulls.T, rows[block], alpha=-1)
        if grad is None:
            return loss, None
        for (block, others), in_memory in zip(blocks, kept, strict=True):
            exponentials = torch.mm(scaled[block], rows[others].T).exp_() if in_memory is None else in_memory
            exponentials.mul_(shares[block].unsqueeze(1) + shares[others])
            grad[block].addmm_(exponentials, rows[others])
            grad[others].addmm_(exponentials.T, rows[block])
    if grad is None:
        return loss, None
    return loss, torch.empty_like(grad).index_copy_(0, order, grad.div_(pairs.temperature))


def _by_class(
    anchors: Tensor, keys: Tensor, pairs: _Pairs, with_gradient: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Compare anchors of one class after another with all keys.

    Anchors and keys are sorted by class. The similarities of a chunk with its own class come first, then those with
    the other classes, so no mask is needed. The sort is stable: if the first keys are the anchors, the similarity of
    each anchor with itself lies on a diagonal.
    """
    anchor_order, key_order = (x.argsort(stable=True) for x in (pairs.anchor_labels, pairs.key_labels))
    sorted_anchors = anchors[anchor_order] / pairs.temperature
    anchors_grad, keys_grad = (torch.zeros_like(x) if with_gradient else None for x in (anchors, keys))
    of_batch = _Queue.of(keys[key_order], pairs.key_labels[key_order])._replace(grad=keys_grad)
    queues = [of_batch, *(_Queue.of(rows, labels) for rows, labels in pairs.memory)]
    ranges = _Queue.of(sorted_anchors, pairs.anchor_labels[anchor_order]).ranges
    num_self = int(pairs.keys_are_anchors)
    num_own = {label: sum(len(own) for queue in queues for own in queue.own(label)) for label in ranges}
    num_keys = sum(len(rows) for queue in queues for rows in queue.ranges.values())
    num_counted = sum(len(rows) for label, rows in ranges.items() if num_own[label] > num_self)

    loss = anchors.new_zeros(())
    for label, rows in ranges.items():
        # Without negatives, every softplus(-inf) is 0, and so is its gradient.
        if not num_self < num_own[label] < num_keys:
            continue
        sections = [(queue, own) for queue in queues for own in queue.own(label)]
        sections += [(queue, others) for queue in queues for others in queue.others(label)]
        kept = _kept(pairs.limits, num_own[label] - num_self, num_keys - num_own[label])
        weight = pairs.scale / (num_counted * kept[0])
        skipped = of_batch.ranges.get(label, range(0))
        chunk = _num_rows(num_keys)
        for start in rows[::chunk]:
            part = sorted_anchors[start : min(start + chunk, rows.stop)]
            similarities = part.new_empty(len(part), num_keys)
            for columns, (queue, of_queue) in _columns(similarities, sections):
                torch.mm(part, queue.rows[of_queue.start : of_queue.stop].T, out=columns)
            itself = start - rows.start if pairs.keys_are_anchors else None
            positives, negatives = similarities.tensor_split([num_own[label]], 1)
            if itself is not None:
                positives.diagonal(itself).fill_(torch.inf)
            _leave_out(positives, negatives, itself is not None, kept, skipped, pairs.generator)
            loss += _compare(positives, negatives, weight, with_gradient)
            if anchors_grad is None:
                continue
            for columns, (queue, of_queue) in _columns(similarities, sections):
                of_section = slice(of_queue.start, of_queue.stop)
                anchors_grad[start : start + len(part)].addmm_(columns, queue.rows[of_section])
                if queue.grad is not None:
                    queue.grad[of_section].addmm_(columns.T, part)
            del similarities, positives, negatives

    if anchors_grad is None or keys_grad is None:
        return loss, None, None
    return (
        loss,
        torch.empty_like(anchors_grad).index_copy_(0, anchor_order, anchors_grad.div_(pairs.temperature)),
        torch.empty_like(keys_grad).index_copy_(0, key_order, keys_grad),
    )


def _columns(
    similarities: Tensor, sections: Sequence[tuple[_Queue, range]]
) -> Iterator[tuple[Tensor, tuple[_Queue, range]]]:
    return zip(torch.split(similarities, [len(rows) for _, rows in sections], 1), sections, strict=True)


def _compare(positives: Tensor, negatives: Tensor, weight: float, with_gradient: bool) -> Tensor:
    """Return the sum of the terms of N anchors, and replace their similarities by the derivatives if wanted.

    Args:
        positives: (N, P) float, similarities with positives; inf where the key takes no part.
        negatives: (N, M) float, similarities with negatives; -inf where the key takes no part.
        weight: Factor on every term.
        with_gradient: If False, the similarities are left undefined.
    """
    highest = negatives.amax(1, keepdim=True)
    exponentials = negatives.sub_(highest).exp_()
    total = exponentials.sum(1, keepdim=True)
    margins = positives.neg_().add_(highest + total.log())
    loss: Tensor = weight * F.softplus(margins).sum()
    if with_gradient:
        pulls = margins.sigmoid_().mul_(-weight)
        exponentials.mul_(pulls.sum(1, keepdim=True) / -total)
    return loss


def _by_mask(
    anchors: Tensor, keys: Tensor, pairs: _Pairs, with_gradient: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Compare all anchors with all keys under masks, so that an accelerator never waits for a number of rows."""
    queues = [(keys, pairs.key_labels), *pairs.memory]
    labels = torch.cat([labels for _, labels in queues])
    scaled = anchors / pairs.temperature
    positives_of, negatives_of = _num_pairs(pairs.anchor_labels, labels, pairs.keys_are_anchors)
    kept_of = pairs.limits.kept(positives_of, negatives_of)
    counts = (positives_of > 0).to(anchors.dtype)
    weights = (pairs.scale * counts / (kept_of[0].clamp(min=1) * counts.sum().clamp(min=1))).unsqueeze(1)
    loss = anchors.new_zeros(())
    anchors_grad, keys_grad = (torch.zeros_like(x) if with_gradient else None for x in (anchors, keys))
    chunk = max(1, _MASKED_ELEMENTS // max(1, len(labels)))
    for start in range(0, len(anchors), chunk):
        block = slice(start, min(start + chunk, len(anchors)))
        similarities = torch.cat([torch.mm(scaled[block], rows.T) for rows, _ in queues], 1)
        own_labels = pairs.anchor_labels[block].unsqueeze(1)
        is_present = (labels >= 0) & (own_labels >= 0)
        is_positive = (labels == own_labels) & is_present
        is_negative = (labels != own_labels) & is_present
        if pairs.keys_are_anchors:
            is_positive.diagonal(start).fill_(False)
        if pairs.limits != PairLimits(None, None):
            is_positive = _drawn(is_positive, kept_of[0][block], pairs.generator)
            is_negative = _drawn(is_negative, kept_of[1][block], pairs.generator)
        negatives = similarities.masked_fill(~is_negative, -torch.inf)
        highest = negatives.amax(1, keepdim=True)
        highest = torch.where(highest == -torch.inf, 0.0, highest)
        exponentials = negatives.sub_(highest).exp_()
        total = exponentials.sum(1, keepdim=True)
        margins = similarities.neg_().add_(highest + total.log()).masked_fill_(~is_positive, -torch.inf)
        loss = loss + (weights[block] * F.softplus(margins)).sum()
        if anchors_grad is None or keys_grad is None:
            continue
        pulls = margins.sigmoid_().mul_(weights[block])
        gradient = exponentials.mul_(pulls.sum(1, keepdim=True) / torch.where(total == 0, 1.0, total)).sub_(pulls)
        parts = torch.split(gradient, [len(rows) for rows, _ in queues], 1)
        for columns, (rows, _) in zip(parts, queues, strict=True):
            anchors_grad[block].addmm_(columns, rows)
        keys_grad.addmm_(parts[0].T, scaled[block])
    return loss, None if anchors_grad is None else anchors_grad.div_(pairs.temperature), keys_grad


def _num_pairs(anchor_labels: Tensor, key_labels: Tensor, keys_are_anchors: bool) -> tuple[Tensor, Tensor]:
    """Return the numbers of positives and negatives of every anchor, both (N,) int64; 0 if it takes no part."""
    order = key_labels.sort().values
    num_own = torch.searchsorted(order, anchor_labels, right=True) - torch.searchsorted(order, anchor_labels)
    takes_part, num_present = anchor_labels >= 0, (key_labels >= 0).sum()
    return (
        torch.where(takes_part, num_own - int(keys_are_anchors), 0),
        torch.where(takes_part, num_present - num_own, 0),
    )


def _drawn(candidates: Tensor, num_kept: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a random choice of `num_kept` (N,) true entries of each row of a mask (N, M)."""
    assert generator is not None, "a choice of pairs needs a generator"
    noise = torch.rand(candidates.shape, generator=generator, device=generator.device).to(candidates.device)
    ranks = noise.masked_fill_(~candidates, torch.inf).argsort(1).argsort(1)
    return candidates & (ranks < num_kept.unsqueeze(1))


def _kept(limits: PairLimits, num_positives: int, num_negatives: int) -> tuple[int, int]:
    positives, negatives = limits.kept(torch.tensor(num_positives), torch.tensor(num_negatives))
    return int(positives), int(negatives)


def _num_rows(num_columns: int) -> int:
    """Return the number of rows of a block of similarities."""
    return max(_MIN_ROWS, _CHUNK_ELEMENTS // max(1, num_columns))


def _leave_out(
    positives: Tensor,
    negatives: Tensor,
    is_one_itself: bool,
    kept: tuple[int, int],
    skipped: range,
    generator: torch.Generator | None,
) -> None:
    """Exclude all but a random choice of pairs by setting their similarity in place.

    Rows are drawn one after another, so the draws do not depend on how anchors are split into chunks.

    Args:
        positives: (N, P) float; inf where the key is no positive, which is once per row if `is_one_itself`.
        negatives: (N, M) float.
        is_one_itself: True if one of the P keys is the anchor.
        kept: Number of positives and of negatives that remain in each row.
        skipped: Range that the anchors' class has among the sorted keys of the batch. Numbers are drawn for it too.
        generator: The only source of randomness.
    """
    num_own, num_others = positives.shape[1], negatives.shape[1]
    is_limited = kept[0] < num_own - int(is_one_itself), kept[1] < num_others
    if not any(is_limited):
        return
    assert generator is not None, "a choice of pairs needs a generator"
    widths = [num_own * is_limited[0], (num_own + num_others) * is_limited[1]]
    noise = torch.rand(len(positives), sum(widths), generator=generator, device=generator.device)
    of_positives, of_all = torch.split(noise, widths, 1)
    if is_limited[0]:
        _keep_lowest(positives, of_positives.masked_fill(positives == torch.inf, torch.inf), kept[0], torch.inf)
    if is_limited[1]:
        of_negatives = torch.cat([of_all[:, : skipped.start], of_all[:, skipped.stop :]], 1)[:, :num_others]
        _keep_lowest(negatives, of_negatives, kept[1], -torch.inf)


def _keep_lowest(pairs: Tensor, ranks: Tensor, num_kept: int, absent: float) -> None:
    chosen = ranks.topk(num_kept, dim=1, largest=False).indices
    pairs.copy_(torch.full_like(pairs, absent).scatter_(1, chosen, pairs.gather(1, chosen)))
