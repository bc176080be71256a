"""Random choice of anchors and keys for the contrast loss.

Anchors are drawn from groups. A group is all pixels of one class in one image.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trainables import devices
from trainables.config import IGNORE_INDEX, ContrastConfig
from trainables.losses.pixel_contrast import ABSENT

NUM_LABELS = IGNORE_INDEX + 1
"""Number of values that a label can take, 255 included. The group of a pixel is numbered image * NUM_LABELS + label."""

_NOISE_BITS = 24
"""Number of random bits of a float32 in [0, 1)."""


class Anchors(NamedTuple):
    """Anchors chosen from the pixels of a batch.

    There are N of them on the CPU. An accelerator would have to wait for N, so there the tensors have `max_samples`
    rows, of which those after the anchors have the label `ABSENT`.
    """

    positions: Tensor
    """(N,) int64, indices into the B * P flattened pixels. They are distinct unless `replacement` repeats some."""
    labels: Tensor
    """(N,) int64, class of each anchor."""
    num_groups: Tensor
    """Number of (image, class) groups that the anchors were drawn from, an int64 scalar."""
    took_effect: dict[str, Tensor]
    """For each of `max_samples`, `max_views`, `min_pixels` and `replacement`, whether it had an effect, a bool scalar.
    Without the others, the anchors would be the same.
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
    counts = count_groups(halves, 2 * NUM_LABELS * len(labels))

    sizes = counts.view(len(labels), NUM_LABELS, 2).sum(2)
    sizes[:, IGNORE_INDEX] = 0
    qualifies = sizes.flatten() >= config.min_pixels
    num_qualified = qualifies.sum()
    num_groups = num_qualified.clamp(max=config.max_samples)
    share = config.max_samples // num_groups.clamp(min=1)
    num_views = share.clamp(max=config.max_views)

    takes_part = _random_choice(qualifies, config.max_samples, generator).unsqueeze(1)
    quotas = torch.where(takes_part, STRATEGIES[config.strategy](counts.view(-1, 2), num_views), 0)
    order, ranks, halves = shuffle_within_groups(halves, counts, generator)
    positions, num_anchors = chosen_first(order, ranks < quotas.flatten()[halves], config.max_samples)
    took_effect = {
        "max_samples": (num_qualified > 0) & ((share < config.max_views) | (num_qualified > config.max_samples)),
        "max_views": (num_qualified > 0) & (config.max_views < share),
        "min_pixels": num_qualified < (sizes > 0).sum(),
        "replacement": num_anchors < num_groups * num_views,
    }
    if config.replacement:
        of_anchors = groups.flatten()[positions]
        num_rows = NUM_LABELS * len(labels)
        positions, num_anchors = _go_round(positions, num_anchors, of_anchors, num_rows, num_views, config.max_samples)
    return Anchors(positions, labels_of(positions, num_anchors, labels.flatten()), num_groups, took_effect)


def semi_hard(counts: Tensor, num_views: Tensor) -> Tensor:
    """Return the numbers of hard and easy anchors to draw from each group, (G, 2) int64: half of each kind.

    If the number of views is odd, the extra one is hard. A half with too few pixels gives all it has, and the other
    half makes up the difference. This is the sampling of Wang et al. (ICCV 2021, arXiv 2101.11939).

    Args:
        counts: (G, 2) int64, number of hard and easy pixels in each group.
        num_views: Maximum number of anchors per group, at least 1, an int64 scalar.
    """
    num_hard, num_easy = counts.unbind(1)
    return _with_easy((num_views - num_easy).clamp(min=(num_views + 1) // 2).minimum(num_hard), num_easy, num_views)


def hard_fill(counts: Tensor, num_views: Tensor) -> Tensor:
    """Return numbers as `semi_hard` does, but if the easy half is short, take hard pixels for all views.

    Easy pixels then fill only the views that hard ones leave open.
    """
    num_hard, num_easy = counts.unbind(1)
    half = (num_views + 1) // 2
    hard = torch.where(num_easy < num_views - half, num_views, half)
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def one_sided(counts: Tensor, num_views: Tensor) -> Tensor:
    """Return numbers as `hard_fill` does, and if only the hard half is short, take easy pixels for all views.

    A group thus gives half of each kind, or only one kind as far as its pixels allow.
    """
    num_hard, num_easy = counts.unbind(1)
    half = (num_views + 1) // 2
    hard = torch.where(num_hard < half, (num_views - num_easy).clamp(min=0), half)
    hard = torch.where(num_easy < num_views - half, num_views, hard)
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def all_cases(counts: Tensor, num_views: Tensor) -> Tensor:
    """Return hard and easy views in the same proportion as the group's pixels, rounded up for the hard ones.

    Groups with both kinds of pixels and groups with only one are thus treated alike. A group with any hard pixel gives
    at least one hard anchor.
    """
    num_hard, num_easy = counts.unbind(1)
    sizes = counts.sum(1).clamp(min=1)
    hard = (num_views * num_hard + sizes - 1) // sizes
    return _with_easy(hard.minimum(num_hard), num_easy, num_views)


def _with_easy(hard: Tensor, num_easy: Tensor, num_views: Tensor) -> Tensor:
    return torch.stack([hard, (num_views - hard).minimum(num_easy)], 1)


STRATEGIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "semi_hard": semi_hard,
    "hard_fill": hard_fill,
    "one_sided": one_sided,
    "all_cases": all_cases,
}


def _random_choice(candidates: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return a mask of all candidates (N,) bool, or of a random `most` of them if there are more."""
    if not devices.reading_is_free(candidates):
        # Noise is needed even if there are few candidates. It must not change the later draws, so it has a generator of
        # its own.
        own = torch.Generator(generator.device)
        own.manual_seed(generator.initial_seed() + 1)
        noise = torch.rand(len(candidates), generator=own, device=own.device).to(candidates.device)
        ranks = noise.masked_fill_(~candidates, torch.inf).argsort().argsort()
        return candidates & (ranks < most)
    members = candidates.nonzero().squeeze(1)
    if len(members) <= most:
        return candidates
    shuffled = torch.randperm(len(members), generator=generator)
    return torch.zeros_like(candidates).index_fill_(0, members[shuffled[:most]], True)


def _go_round(
    positions: Tensor, num_anchors: Tensor, groups: Tensor, num_groups: int, num_views: Tensor, max_samples: int
) -> tuple[Tensor, Tensor]:
    """Repeat each group's positions in turn until there are `num_views` of each group; return also their new number.

    Args:
        positions: (N,) int64, of which each group has at most `num_views`.
        num_anchors: Number of positions that are anchors, an int64 scalar.
        groups: (N,) int64 in [0, num_groups), the group of each position; ascending for the anchors.
        num_groups: Number of groups.
        num_views: Number of positions per group in the result.
        max_samples: Maximum number of positions in the result.
    """
    if not len(positions):
        return positions, num_anchors
    is_anchor = torch.arange(len(positions), device=positions.device) < num_anchors
    groups = torch.where(is_anchor, groups, num_groups)  # a group of its own for the rows that are no anchors
    counts = count_groups(groups, num_groups + 1)
    of_group = counts[groups]
    rounds = (num_views - rank_in_runs(groups, counts) + of_group - 1) // of_group
    ends = torch.where(is_anchor, rounds, 0).cumsum(0)
    num_slots = int(ends[-1]) if devices.reading_is_free(positions) else max_samples
    slots = torch.arange(num_slots, device=positions.device)
    return positions[torch.searchsorted(ends, slots, right=True).clamp_(max=len(positions) - 1)], ends[-1]


def sample_pool(
    labels: Tensor, anchors: Tensor, anchor_labels: Tensor, max_keys: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw labelled pixels that are not anchors, without replacement.

    Args:
        labels: (P,) int64 in [0, 255), or 255, which is ignored.
        anchors: (N,) int64, positions of the anchors.
        anchor_labels: (N,) int64, class of each anchor, or `ABSENT`.
        max_keys: Number of anchors and drawn pixels together. If fewer pixels are available, all of them are drawn.
        generator: The only source of randomness. It is not used if no pixel is wanted.

    Returns:
        Positions and classes, both (Q,) int64. On an accelerator, which would have to wait for Q, there may be more
        rows; their class is `ABSENT`.
    """
    if max_keys == 0:
        return anchors[:0], anchor_labels[:0]
    is_anchor = anchor_labels >= 0
    num_wanted = max_keys - is_anchor.sum()
    # The last entry takes the rows that are no anchors.
    is_candidate = torch.cat([labels != IGNORE_INDEX, labels.new_zeros(1, dtype=torch.bool)])
    is_candidate = is_candidate.scatter_(0, torch.where(is_anchor, anchors, len(labels)), False)[:-1]
    if devices.reading_is_free(labels):
        if num_wanted < 1:
            return anchors[:0], anchor_labels[:0]
        candidates = is_candidate.nonzero().squeeze(1)
        shuffled = torch.randperm(len(candidates), generator=generator)
        drawn = candidates[shuffled[:num_wanted]]
        return drawn, labels[drawn]
    noise = torch.rand(len(labels), generator=generator, device=generator.device).to(labels.device)
    drawn = noise.masked_fill_(~is_candidate, torch.inf).argsort()[:max_keys]
    return drawn, labels_of(drawn, num_wanted.minimum(is_candidate.sum()), labels)


def labels_of(positions: Tensor, num_chosen: Tensor, labels: Tensor) -> Tensor:
    """Return the labels of the first positions, and `ABSENT` for the rest."""
    is_chosen = torch.arange(len(positions), device=positions.device) < num_chosen
    return torch.where(is_chosen, labels[positions], ABSENT)


def chosen_first(values: Tensor, is_chosen: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the chosen values in order, and their number.

    On an accelerator, which would have to wait for the number, there are `most` of them, the last ones being 0.

    Args:
        values: (N,) int64.
        is_chosen: (N,) bool.
        most: The largest number that can be chosen.
    """
    if devices.reading_is_free(values):
        chosen = values[is_chosen]
        return chosen, torch.tensor(len(chosen))
    slots = torch.where(is_chosen, is_chosen.cumsum(0) - 1, most)
    return values.new_zeros(most + 1).scatter_(0, slots, values)[:-1], is_chosen.sum()


def count_groups(groups: Tensor, num_groups: int) -> Tensor:
    """Return the number of pixels of each group, (G,) int64."""
    if devices.reading_is_free(groups):
        return groups.bincount(minlength=num_groups)
    # bincount would make an accelerator wait.
    return groups.new_zeros(num_groups).scatter_add_(0, groups, torch.ones_like(groups))


def shuffle_within_groups(groups: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Sort pixels by group, and shuffle them within each group.

    Args:
        groups: (P,) int64 in [0, G), the group of each pixel; G * P < 2^39.
        counts: (G,) int64, number of pixels in each group.
        generator: The source of the shuffle.

    Returns:
        The order, the rank of each pixel within its group, and its group, all (P,) int64 in the new order.
    """
    noise = torch.rand(len(groups), generator=generator, device=generator.device).to(groups.device)
    # One integer holds the group, the random bits and the index. Integers are sorted much faster than floats.
    index_bits = len(groups).bit_length()
    shuffled = (groups << _NOISE_BITS) + (noise * 2.0**_NOISE_BITS).long()
    shuffled = (shuffled << index_bits).add_(torch.arange(len(groups), device=groups.device)).sort().values
    groups = shuffled >> (_NOISE_BITS + index_bits)
    return shuffled & ((1 << index_bits) - 1), rank_in_runs(groups, counts), groups


def rank_in_runs(groups: Tensor, counts: Tensor) -> Tensor:
    """Return the position of each element within the run of its own group, (P,) int64 from 0; `groups` must ascend."""
    starts = counts.cumsum(0) - counts
    return torch.arange(len(groups), device=groups.device) - starts[groups]
