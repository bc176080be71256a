"""Which pixels become anchors of the contrast, from every group of pixels of one class in one image; which keys."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.config import IGNORE_INDEX, ContrastConfig

NUM_LABELS = IGNORE_INDEX + 1
"""Values that a label can take, 255 included; image * NUM_LABELS + label numbers the groups of a batch."""


class Anchors(NamedTuple):
    """N anchors out of the pixels of a batch."""

    positions: Tensor
    """(N,) int64, flat index into the B * P pixels; distinct, unless `replacement` repeats some."""
    labels: Tensor
    """(N,) int64, the class of every anchor."""
    num_groups: int
    """Number of (image, class) groups the anchors were drawn from."""
    took_effect: frozenset[str] = frozenset()
    """Which of `max_samples`, `max_views`, `min_pixels` and `replacement` had a say: without the others, the anchors
    would be the same."""


def sample_anchors(config: ContrastConfig, labels: Tensor, predictions: Tensor, generator: torch.Generator) -> Anchors:
    """Anchors drawn at random group by group, as many of them hard and easy as `config.strategy` says.

    A group is one (image, class) pair with at least `min_pixels` pixels, whether they are hard (predicted otherwise),
    easy or both. Under every strategy it gives n_view = min(max_samples // groups, max_views) distinct pixels, and at
    least 1, or all it has if it has fewer. With `replacement` these go round, hard ones first, until n_view is full:
    an anchor that is repeated has its copies among its positives. Of more than `max_samples` groups a random
    `max_samples` take part.

    Args:
        config: strategy, replacement, max_samples, max_views and min_pixels.
        labels: (B, P) int64 in [0, 255), or 255, which is ignored.
        predictions: (B, P) int64, the class the network predicts.
        generator: the only source of randomness; on the CPU or on the labels' device.
    """
    images = torch.arange(len(labels), device=labels.device).unsqueeze(1)
    groups = images * NUM_LABELS + labels
    # Half 2 * g holds the hard pixels of group g (predicted otherwise), half 2 * g + 1 its easy ones.
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
    """Anchors to draw from the hard and the easy pixels of every group, (G, 2) int64: half and half.

    An odd view is hard. A half that is short of pixels gives all it has and is topped up from the other: the sampling
    of Wang et al. (ICCV 2021, arXiv 2101.11939).

    Args:
        counts: (G, 2) int64, hard and easy pixels of every group.
        num_views: largest number of anchors of a group, at least 1.
    """
    num_hard, num_easy = counts.unbind(1)
    return _with_easy((num_views - num_easy).clamp(min=(num_views + 1) // 2).minimum(num_hard), num_easy, num_views)


def hard_fill(counts: Tensor, num_views: int) -> Tensor:
    """As `semi_hard`, but where the easy half is short (or empty) all views are hard, as far as hard pixels go.

    Easy pixels then only fill what hard ones leave open.
    """
    num_hard, num_easy = counts.unbind(1)
    half = (num_views + 1) // 2
    hard = torch.where(num_easy < num_views - half, num_views, half)
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def one_sided(counts: Tensor, num_views: int) -> Tensor:
    """As `hard_fill`, and the other way round: where the hard half alone is short, all views are easy.

    A group is thus half and half, or of one kind as far as its pixels go.
    """
    num_hard, num_easy = counts.unbind(1)
    half = (num_views + 1) // 2
    hard = torch.where(num_hard < half, (num_views - num_easy).clamp(min=0), half)
    hard = torch.where(num_easy < num_views - half, num_views, hard)
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def all_cases(counts: Tensor, num_views: int) -> Tensor:
    """Hard and easy views in the proportion of the group's pixels, rounded in favour of the hard ones.

    Groups of both kinds and of either one alone are thus treated alike, and a group with a hard pixel gives one.
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
    """Every group's positions, one after another and from the start again, until there are `num_views` of each.

    Args:
        positions: (N,) int64.
        groups: (N,) int64, ascending; each with at most `num_views` positions.
        num_views: positions of every group in the result.
    """
    counts = torch.bincount(groups)
    of_group = counts[groups]
    rounds = (num_views - rank_in_runs(groups, counts) + of_group - 1) // of_group
    return positions.repeat_interleave(rounds)


def sample_pool(labels: Tensor, anchors: Tensor, num_pixels: int, generator: torch.Generator) -> Tensor:
    """Random labelled pixels that are no anchors, without replacement: (Q,) int64 positions.

    Args:
        labels: (P,) int64 in [0, 255), or 255, which is ignored.
        anchors: (N,) int64, the positions of the anchors.
        num_pixels: Q, or more than there are, or less than 1, which gives none.
        generator: the only source of randomness; unused where none are asked for.
    """
    if num_pixels < 1:
        return anchors[:0]
    is_candidate = labels != IGNORE_INDEX
    is_candidate[anchors] = False
    candidates = is_candidate.nonzero().squeeze(1)
    shuffled = torch.randperm(len(candidates), generator=generator, device=generator.device)
    return candidates[shuffled[:num_pixels].to(candidates.device)]


def shuffle_within_groups(groups: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pixels sorted by group and shuffled within, and the rank of each in its group: both (P,) int64.

    Args:
        groups: (P,) int64 in [0, G), G < 2^28, the group of every pixel.
        counts: (G,) int64, pixels of every group.
        generator: the source of the shuffle.
    """
    # 24 random bits behind the group's number: the sum is exact in float64, so that no pixel leaves its group.
    noise = torch.rand(len(groups), generator=generator, device=generator.device).to(groups.device)
    order = (groups + noise.double()).argsort()
    return order, rank_in_runs(groups[order], counts)


def rank_in_runs(groups: Tensor, counts: Tensor) -> Tensor:
    """Position of every element in the run of its own group, (P,) int64 from 0; `groups` ascend."""
    starts = counts.cumsum(0) - counts
    return torch.arange(len(groups), device=groups.device) - starts[groups]
