"""Random choice of anchors and keys for the contrast loss.

Anchors are drawn from groups. A group is all pixels of one class in one image.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.config import IGNORE_INDEX, ContrastConfig

NUM_LABELS = IGNORE_INDEX + 1
"""Number of values that a label can take, 255 included. The group of a pixel is numbered image * NUM_LABELS + label."""


class Anchors(NamedTuple):
    """N anchors chosen from the pixels of a batch."""

    positions: Tensor
    """(N,) int64, indices into the B * P flattened pixels. They are distinct unless `replacement` repeats some."""
    labels: Tensor
    """(N,) int64, class of each anchor."""
    num_groups: int
    """Number of (image, class) groups that the anchors were drawn from."""
    took_effect: frozenset[str] = frozenset()
    """Limits, among `max_samples`, `max_views`, `min_pixels` and `replacement`, that had an effect. Without the others,
    the anchors would be the same.
    """


def sample_anchors(config: ContrastConfig, labels: Tensor, predictions: Tensor, generator: torch.Generator) -> Anchors:
    """Draw anchors at random from each group; `config.strategy` decides how many are hard and how many easy.

    A pixel is hard if the network predicts another class than its label, and easy otherwise. A group is one (image,
    class) pair with at least `min_pixels` pixels of either kind. Under every strategy, a group gives n_view =
    min(max_samples // groups, max_views) distinct pixels, but at least 1, or all its pixels if it has fewer. With
    `replacement`, a group with fewer pixels repeats them in turn, hard ones first, until it gives n_view; the copies of
    a repeated anchor are among its positives. If there are more than `max_samples` groups, a random `max_samples` of
    them take part.

    Args:
        config: Its strategy, replacement, max_samples, max_views and min_pixels are read.
        labels: (B, P) int64 in [0, 255), or 255, which is ignored.
        predictions: (B, P) int64, the class that the network predicts.
        generator: The only source of randomness; on the CPU or on the labels' device.
    """
    images = torch.arange(len(labels), device=labels.device).unsqueeze(1)
    groups = images * NUM_LABELS + labels
    # Half 2 * g holds the hard pixels of group g, half 2 * g + 1 its easy ones.
    halves = (2 * groups + (labels == predictions)).flatten()
    counts = torch.bincount(halves, minlength=2 * NUM_LABELS * len(labels))

    sizes = counts.view(len(labels), NUM_LABELS, 2).sum(2)
    sizes[:, IGNORE_INDEX] = 0
    num_present = int((sizes > 0).sum())
    members = (sizes.flatten() >= config.min_pixels).nonzero().squeeze(1)
    num_qualified = len(members)
    if num_qualified > config.max_samples:
        shuffled = torch.randperm(num_qualified, generator=generator, device=generator.device)
        members = members[shuffled[: config.max_samples].to(members.device)]
    share = config.max_samples // max(1, len(members))
    num_views = min(share, config.max_views)

    quotas = torch.zeros_like(counts).view(-1, 2)
    quotas[members] = STRATEGIES[config.strategy](counts.view(-1, 2)[members], num_views)

    order, ranks = shuffle_within_groups(halves, counts, generator)
    positions = order[ranks < quotas.flatten()[halves[order]]]
    limits = {
        "max_samples": num_qualified > 0 and (share < config.max_views or num_qualified > config.max_samples),
        "max_views": num_qualified > 0 and config.max_views < share,
        "min_pixels": num_qualified < num_present,
        "replacement": len(positions) < len(members) * num_views,
    }
    if config.replacement:
        positions = _go_round(positions, groups.flatten()[positions], num_views)
    took_effect = frozenset(name for name, had_a_say in limits.items() if had_a_say)
    return Anchors(positions, labels.flatten()[positions], len(members), took_effect)


def semi_hard(counts: Tensor, num_views: int) -> Tensor:
    """Return the numbers of hard and easy anchors to draw from each group, (G, 2) int64: half of each kind.

    If the number of views is odd, the extra one is hard. A half with too few pixels gives all it has, and the other
    half makes up the difference. This is the sampling of Wang et al. (ICCV 2021, arXiv 2101.11939).

    Args:
        counts: (G, 2) int64, number of hard and easy pixels in each group.
        num_views: Maximum number of anchors per group, at least 1.
    """
    num_hard, num_easy = counts.unbind(1)
    return _with_easy((num_views - num_easy).clamp(min=(num_views + 1) // 2).minimum(num_hard), num_easy, num_views)


def hard_fill(counts: Tensor, num_views: int) -> Tensor:
    """Return numbers as `semi_hard` does, but if the easy half is short, take hard pixels for all views.

    Easy pixels then fill only the views that hard ones leave open.
    """
    num_hard, num_easy = counts.unbind(1)
    half = (num_views + 1) // 2
    hard = torch.where(num_easy < num_views - half, num_views, half)
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def one_sided(counts: Tensor, num_views: int) -> Tensor:
    """Return numbers as `hard_fill` does, and if only the hard half is short, take easy pixels for all views.

    A group thus gives half of each kind, or only one kind as far as its pixels allow.
    """
    num_hard, num_easy = counts.unbind(1)
    half = (num_views + 1) // 2
    hard = torch.where(num_hard < half, (num_views - num_easy).clamp(min=0), half)
    hard = torch.where(num_easy < num_views - half, num_views, hard)
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def all_cases(counts: Tensor, num_views: int) -> Tensor:
    """Return hard and easy views in the same proportion as the group's pixels, rounded up for the hard ones.

    Groups with both kinds of pixels and groups with only one are thus treated alike. A group with any hard pixel gives
    at least one hard anchor.
    """
    num_hard, num_easy = counts.unbind(1)
    sizes = counts.sum(1).clamp(min=1)
    hard = (num_views * num_hard + sizes - 1) // sizes
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def _with_easy(hard: Tensor, num_easy: Tensor, num_views: int) -> Tensor:
    return torch.stack([hard, (num_views - hard).minimum(num_easy)], 1)


STRATEGIES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "semi_hard": semi_hard,
    "hard_fill": hard_fill,
    "one_sided": one_sided,
    "all_cases": all_cases,
}


def _go_round(positions: Tensor, groups: Tensor, num_views: int) -> Tensor:
    """Repeat each group's positions in turn until there are `num_views` of each group.

    Args:
        positions: (N,) int64.
        groups: (N,) int64, ascending; each with at most `num_views` positions.
        num_views: Number of positions per group in the result.
    """
    counts = torch.bincount(groups)
    of_group = counts[groups]
    rounds = (num_views - rank_in_runs(groups, counts) + of_group - 1) // of_group
    return positions.repeat_interleave(rounds)


def sample_pool(labels: Tensor, anchors: Tensor, num_pixels: int, generator: torch.Generator) -> Tensor:
    """Draw labelled pixels that are not anchors, without replacement, and return their positions, (Q,) int64.

    Args:
        labels: (P,) int64 in [0, 255), or 255, which is ignored.
        anchors: (N,) int64, positions of the anchors.
        num_pixels: Wanted number Q. If fewer pixels are available, all of them are returned; below 1, none.
        generator: The only source of randomness. It is not used if `num_pixels` is below 1.
    """
    if num_pixels < 1:
        return anchors[:0]
    is_candidate = labels != IGNORE_INDEX
    is_candidate[anchors] = False
    candidates = is_candidate.nonzero().squeeze(1)
    shuffled = torch.randperm(len(candidates), generator=generator, device=generator.device)
    return candidates[shuffled[:num_pixels].to(candidates.device)]


def shuffle_within_groups(groups: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sort pixels by group, shuffle them within each group, and return the order and each rank: both (P,) int64.

    Args:
        groups: (P,) int64 in [0, G), G < 2^28, the group of each pixel.
        counts: (G,) int64, number of pixels in each group.
        generator: The source of the shuffle.
    """
    # The fraction has 24 random bits, so its sum with the group's number is exact in float64 and no pixel leaves its
    # group.
    noise = torch.rand(len(groups), generator=generator, device=generator.device).to(groups.device)
    order = (groups + noise.double()).argsort()
    return order, rank_in_runs(groups[order], counts)


def rank_in_runs(groups: Tensor, counts: Tensor) -> Tensor:
    """Return the position of each element within the run of its own group, (P,) int64 from 0; `groups` must ascend."""
    starts = counts.cumsum(0) - counts
    return torch.arange(len(groups), device=groups.device) - starts[groups]
