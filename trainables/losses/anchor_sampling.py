"""Which pixels become anchors of the contrast: a number from every group of pixels of one class in one image."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.config import IGNORE_INDEX, ContrastConfig

NUM_LABELS = IGNORE_INDEX + 1
"""Values that a label can take, 255 included; image * NUM_LABELS + label numbers the groups of a batch."""


class Anchors(NamedTuple):
    """N anchors out of the pixels of a batch."""

    positions: Tensor
    """(N,) int64, distinct, flat index into the B * P pixels."""
    labels: Tensor
    """(N,) int64, the class of every anchor."""
    num_groups: int
    """Number of (image, class) groups the anchors were drawn from."""


def sample_anchors(config: ContrastConfig, labels: Tensor, predictions: Tensor, generator: torch.Generator) -> Anchors:
    """Anchors drawn at random, without replacement, group by group as `config.strategy` says.

    A group is one (image, class) pair with at least `min_pixels` pixels. Every group may give up to
    n_view = min(max_samples // groups, max_views) anchors, and at least 1; of more than `max_samples` groups a random
    `max_samples` take part.

    Args:
        config: strategy, max_samples, max_views and min_pixels.
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
    members = (sizes.flatten() >= config.min_pixels).nonzero().squeeze(1)
    if len(members) > config.max_samples:
        shuffled = torch.randperm(len(members), generator=generator, device=generator.device)
        members = members[shuffled[: config.max_samples].to(members.device)]
    num_views = min(config.max_samples // max(1, len(members)), config.max_views)

    quotas = torch.zeros_like(counts).view(-1, 2)
    match config.strategy:
        case "semi_hard":
            quotas[members] = semi_hard(counts.view(-1, 2)[members], num_views)

    order, ranks = shuffle_within_groups(halves, counts, generator)
    positions = order[ranks < quotas.flatten()[halves[order]]]
    return Anchors(positions, labels.flatten()[positions], len(members))


def semi_hard(counts: Tensor, num_views: int) -> Tensor:
    """Anchors to draw from the hard and the easy half of every group, (G, 2) int64.

    Half of the views are hard, an odd one is hard too, and a half that is short is topped up from the other: the
    sampling of Wang et al. (ICCV 2021, arXiv 2101.11939). A group smaller than `num_views` gives all it has.

    Args:
        counts: (G, 2) int64, hard and easy pixels of every group.
        num_views: largest number of anchors of a group, at least 1.
    """
    num_hard, num_easy = counts.unbind(1)
    hard = (num_views - num_easy).clamp(min=(num_views + 1) // 2).minimum(num_hard)
    return torch.stack([hard, (num_views - hard).minimum(num_easy)], 1)


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
