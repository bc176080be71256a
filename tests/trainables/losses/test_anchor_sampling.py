from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import ContrastConfig
from trainables.losses.anchor_sampling import (
    STRATEGIES,
    Anchors,
    sample_anchors,
    sample_pool,
    semi_hard,
    shuffle_within_groups,
)


def _sample(
    labels: torch.Tensor, predictions: torch.Tensor | None = None, seed: int = 0, **options: int | str
) -> tuple[Anchors, torch.Tensor]:
    """Return the anchors and their number from each (image, class), (B, 256)."""
    config = ContrastConfig.model_validate(options)
    generator = torch.Generator().manual_seed(seed)
    anchors = sample_anchors(config, labels, labels if predictions is None else predictions, generator)
    images = anchors.positions // labels.shape[1]
    return anchors, torch.bincount(images * 256 + anchors.labels, minlength=256 * len(labels)).view(-1, 256)


def _effects(anchors: Anchors) -> set[str]:
    return {name for name, took_effect in anchors.took_effect.items() if took_effect}


every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def _by_the_original(num_hard: int, num_easy: int, num_views: int) -> tuple[int, int]:
    """Apply the original's rule, except that an odd number of views rounds the hard half up."""
    if num_hard >= num_views / 2 and num_easy >= num_views / 2:
        keep_hard = (num_views + 1) // 2
        return keep_hard, num_views - keep_hard
    if num_hard >= num_views / 2:
        return num_views - num_easy, num_easy
    assert num_easy >= num_views / 2
    return num_hard, num_views - num_hard


@pytest.mark.parametrize(
    ("counts", "num_views", "expected"),
    [
        ((50, 50), 10, (5, 5)),
        ((50, 50), 7, (4, 3)),
        ((50, 2), 10, (8, 2)),
        ((3, 50), 10, (3, 7)),
        ((0, 50), 10, (0, 10)),
        ((50, 0), 10, (10, 0)),
        ((1, 50), 1, (1, 0)),
        ((0, 50), 1, (0, 1)),
        ((2, 3), 10, (2, 3)),
        ((4, 3), 7, (4, 3)),
        ((0, 0), 4, (0, 0)),
    ],
)
def test_semi_hard_takes_half_and_tops_up(counts: tuple[int, int], num_views: int, expected: tuple[int, int]) -> None:
    assert tuple(semi_hard(torch.tensor([counts]), torch.tensor(num_views))[0].tolist()) == expected


@settings(deadline=None)
@given(num_views=st.integers(1, 60), num_hard=st.integers(0, 100), num_easy=st.integers(0, 100))
def test_semi_hard_is_the_original_wherever_the_original_is_defined(
    num_views: int, num_hard: int, num_easy: int
) -> None:
    hard, easy = semi_hard(torch.tensor([[num_hard, num_easy]]), torch.tensor(num_views))[0].tolist()
    if num_hard + num_easy >= num_views:
        assert (hard, easy) == _by_the_original(num_hard, num_easy, num_views)
    else:
        assert (hard, easy) == (num_hard, num_easy)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((50, 50), {"semi_hard": (5, 5), "hard_fill": (5, 5), "one_sided": (5, 5), "all_cases": (5, 5)}),
        ((30, 90), {"semi_hard": (5, 5), "hard_fill": (5, 5), "one_sided": (5, 5), "all_cases": (3, 7)}),
        ((50, 2), {"semi_hard": (8, 2), "hard_fill": (10, 0), "one_sided": (10, 0), "all_cases": (10, 0)}),
        ((3, 47), {"semi_hard": (3, 7), "hard_fill": (3, 7), "one_sided": (0, 10), "all_cases": (1, 9)}),
        ((8, 4), {"semi_hard": (6, 4), "hard_fill": (8, 2), "one_sided": (8, 2), "all_cases": (7, 3)}),
        ((4, 8), {"semi_hard": (4, 6), "hard_fill": (4, 6), "one_sided": (2, 8), "all_cases": (4, 6)}),
        ((50, 0), dict.fromkeys(STRATEGIES, (10, 0))),
        ((0, 50), dict.fromkeys(STRATEGIES, (0, 10))),
        ((7, 1), dict.fromkeys(STRATEGIES, (7, 1))),
        ((1, 7), dict.fromkeys(STRATEGIES, (1, 7))),
        ((2, 3), dict.fromkeys(STRATEGIES, (2, 3))),
        ((4, 0), dict.fromkeys(STRATEGIES, (4, 0))),
        ((0, 4), dict.fromkeys(STRATEGIES, (0, 4))),
        ((0, 0), dict.fromkeys(STRATEGIES, (0, 0))),
    ],
)
def test_how_many_are_hard_under_every_strategy(counts: tuple[int, int], expected: dict[str, tuple[int, int]]) -> None:
    drawn = {
        name: tuple(strategy(torch.tensor([counts]), torch.tensor(10))[0].tolist())
        for name, strategy in STRATEGIES.items()
    }
    assert drawn == expected


@every_strategy
@settings(deadline=None, max_examples=50)
@given(num_views=st.integers(1, 60), num_hard=st.integers(0, 100), num_easy=st.integers(0, 100))
def test_every_strategy_fills_the_views_and_takes_a_hard_one_first(
    strategy: str, num_views: int, num_hard: int, num_easy: int
) -> None:
    hard, easy = STRATEGIES[strategy](torch.tensor([[num_hard, num_easy]]), torch.tensor(num_views))[0].tolist()
    assert 0 <= hard <= num_hard
    assert 0 <= easy <= num_easy
    assert hard + easy == min(num_views, num_hard + num_easy)
    if num_views == 1:
        assert hard == min(1, num_hard)


def test_the_strategies_are_those_of_the_config() -> None:
    assert tuple(STRATEGIES) == get_args(ContrastConfig.model_fields["strategy"].annotation)


def _random_maps(seed: int, num_images: int, num_pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    labels = generator.choice([0, 1, 2, 7, 254, 255], size=(num_images, num_pixels))
    predictions = np.where(generator.random(labels.shape) < 0.5, labels, 1)
    return torch.from_numpy(labels), torch.from_numpy(predictions)


@every_strategy
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    num_images=st.integers(1, 4),
    num_pixels=st.integers(1, 60),
    max_samples=st.integers(1, 80),
    max_views=st.integers(1, 12),
    min_pixels=st.integers(1, 8),
)
def test_what_holds_for_every_sample(
    strategy: str, seed: int, num_images: int, num_pixels: int, max_samples: int, max_views: int, min_pixels: int
) -> None:
    labels, predictions = _random_maps(seed, num_images, num_pixels)
    anchors, drawn = _sample(
        labels,
        predictions,
        seed,
        strategy=strategy,
        max_samples=max_samples,
        max_views=max_views,
        min_pixels=min_pixels,
    )
    flat = labels.flatten()
    assert len(anchors.positions.unique()) == len(anchors.positions) <= max_samples
    assert torch.equal(flat[anchors.positions], anchors.labels)
    assert not (anchors.labels == 255).any()

    sizes = torch.stack([torch.bincount(image, minlength=256) for image in labels])
    sizes[:, 255] = 0
    num_qualified = int((sizes >= min_pixels).sum())
    assert anchors.num_groups == min(num_qualified, max_samples) == int((drawn > 0).sum())
    num_views = min(max(1, max_samples // max(1, num_qualified)), max_views)
    taking_part = drawn > 0
    assert torch.equal(drawn[taking_part], sizes[taking_part].clamp(max=num_views))

    is_hard = (predictions != labels).flatten()
    num_hard = (
        torch.zeros_like(drawn)
        .flatten()
        .index_add_(0, anchors.positions // num_pixels * 256 + anchors.labels, is_hard[anchors.positions].long())
    )
    for group in drawn.flatten().nonzero().flatten().tolist():
        of_group = flat[group // 256 * num_pixels : (group // 256 + 1) * num_pixels] == group % 256
        hard_of_group = is_hard[group // 256 * num_pixels : (group // 256 + 1) * num_pixels] & of_group
        counts = torch.stack([hard_of_group.sum(), (of_group & ~hard_of_group).sum()])
        assert num_hard[group] == STRATEGIES[strategy](counts.unsqueeze(0), torch.tensor(num_views))[0, 0]


def test_views_share_the_samples_of_the_batch_between_groups() -> None:
    labels = torch.tensor([[0] * 30 + [1] * 30, [2] * 60])
    _, drawn = _sample(labels, max_samples=20, max_views=100)
    assert drawn[0, :3].tolist() == [6, 6, 0]
    assert drawn[1, :3].tolist() == [0, 0, 6]
    _, drawn = _sample(labels, max_samples=20, max_views=4)
    assert drawn.sum() == 12


def test_groups_below_min_pixels_do_not_take_part() -> None:
    labels = torch.tensor([[0] * 5 + [1] * 6])
    anchors, drawn = _sample(labels, max_samples=100, max_views=3, min_pixels=6)
    assert anchors.num_groups == 1
    assert drawn[0, :2].tolist() == [0, 3]


def test_more_groups_than_samples_leaves_one_anchor_in_each_of_a_random_part() -> None:
    labels = torch.arange(8).repeat(1, 10)
    seen = torch.zeros(8)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        anchors = sample_anchors(ContrastConfig(max_samples=4), labels, labels, generator)
        assert anchors.num_groups == len(anchors.labels.unique()) == len(anchors.labels) == 4
        seen[anchors.labels] += 1
    # Each of the 8 is in half of 400 draws; the standard deviation is 10.
    assert (seen - 200).abs().max() < 45


@every_strategy
def test_one_view_is_a_hard_one_where_there_is_one(strategy: str) -> None:
    labels = torch.tensor([[0] * 50 + [1] * 50])
    predictions = labels.clone()
    predictions[0, 17] = 3
    for seed in range(20):
        anchors, _ = _sample(labels, predictions, seed, strategy=strategy, max_views=1)
        assert anchors.labels.tolist() == [0, 1]
        assert anchors.positions[0] == 17


@pytest.mark.parametrize(
    "labels", [torch.full((2, 9), 255), torch.tensor([[0, 1, 2], [255, 3, 4]])], ids=["all ignored", "all too small"]
)
def test_no_group_qualifies(labels: torch.Tensor) -> None:
    anchors, _ = _sample(labels, min_pixels=2)
    assert anchors.positions.shape == anchors.labels.shape == (0,)
    assert anchors.num_groups == 0


def test_pixels_of_a_group_are_drawn_uniformly() -> None:
    # 3000 images with 24 hard and 40 easy pixels of one class: 5 of each kind from every image.
    labels = torch.zeros(3000, 64, dtype=torch.int64)
    predictions = labels.clone()
    predictions[:, ::2][:, :24] = 1
    anchors, _ = _sample(labels, predictions, max_samples=30_000, max_views=10)
    times_drawn = torch.bincount(anchors.positions % 64, minlength=64).double()
    is_hard = predictions[0] == 1
    for half in (times_drawn[is_hard], times_drawn[~is_hard]):
        share = 5 / len(half)
        expected = 3000 * share
        assert half.sum() == 15_000
        # For draws without replacement, each count has variance n p (1 - p); the statistic has len - 1 degrees of
        # freedom.
        chi_square = ((half - expected) ** 2).sum() / (expected * (1 - share)) * (len(half) - 1) / len(half)
        freedom = len(half) - 1
        assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def test_pairs_of_pixels_are_drawn_independently_of_their_distance() -> None:
    labels = torch.zeros(6000, 6, dtype=torch.int64)
    anchors, _ = _sample(labels, max_samples=12_000, max_views=2)
    pairs = (anchors.positions % 6).view(6000, 2).sort(1).values
    times = torch.bincount(pairs[:, 0] * 6 + pairs[:, 1]).double()
    times = times[times > 0]
    # 15 pairs, 400 times each; the standard deviation is 19.
    assert len(times) == 15
    assert (times - 400).abs().max() < 80


@every_strategy
def test_groups_shorter_than_the_views_go_round_under_replacement(strategy: str) -> None:
    # 3 pixels of class 0, the second one hard; 40 of class 1, half of them hard.
    labels = torch.tensor([[0] * 3 + [1] * 40 + [255] * 5])
    predictions = labels.clone()
    predictions[0, 1] = 1
    predictions[0, 3:23] = 0
    without, drawn = _sample(labels, predictions, strategy=strategy, max_views=10)
    assert drawn[0, :2].tolist() == [3, 10]
    anchors, drawn = _sample(labels, predictions, strategy=strategy, max_views=10, replacement=True)
    assert drawn[0, :2].tolist() == [10, 10]
    assert anchors.num_groups == without.num_groups == 2
    # Three rounds of all three pixels, and a fourth that starts with the hard one.
    assert torch.bincount(anchors.positions)[:3].tolist() == [3, 4, 3]
    assert torch.equal(anchors.positions.unique(), without.positions.unique())
    assert torch.equal(labels.flatten()[anchors.positions], anchors.labels)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 10_000),
    strategy=st.sampled_from(list(STRATEGIES)),
    max_samples=st.integers(1, 80),
    max_views=st.integers(1, 30),
    min_pixels=st.integers(1, 8),
)
def test_under_replacement_every_group_gives_the_same_number(
    seed: int, strategy: str, max_samples: int, max_views: int, min_pixels: int
) -> None:
    labels, predictions = _random_maps(seed, 2, 40)
    options = {"max_samples": max_samples, "max_views": max_views, "min_pixels": min_pixels}
    anchors, drawn = _sample(labels, predictions, seed, strategy=strategy, replacement=True, **options)
    num_views = min(max(1, max_samples // max(1, int(anchors.num_groups))), max_views)
    assert (drawn[drawn > 0] == num_views).all()
    assert len(anchors.positions) == anchors.num_groups * num_views <= max_samples


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10_000),
    strategy=st.sampled_from(list(STRATEGIES)),
    max_samples=st.integers(1, 80),
    max_views=st.integers(1, 30),
    min_pixels=st.integers(1, 8),
    replacement=st.booleans(),
)
def test_a_limit_without_effect_can_be_lifted(
    seed: int, strategy: str, max_samples: int, max_views: int, min_pixels: int, replacement: bool
) -> None:
    labels, predictions = _random_maps(seed, 2, 40)
    options = {"max_samples": max_samples, "max_views": max_views, "min_pixels": min_pixels, "replacement": replacement}
    anchors, _ = _sample(labels, predictions, seed, strategy=strategy, **options)
    lifted = {"max_samples": 10**6, "max_views": 10**6, "min_pixels": 1, "replacement": not replacement}
    for name in lifted.keys() - _effects(anchors):
        without, _ = _sample(labels, predictions, seed, strategy=strategy, **{**options, name: lifted[name]})
        assert torch.equal(without.positions, anchors.positions)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_samples": 40, "max_views": 3}, {"max_views"}),
        ({"max_samples": 8, "max_views": 4}, set()),
        ({"max_samples": 6, "max_views": 4}, {"max_samples"}),
        ({"max_samples": 1, "max_views": 1}, {"max_samples"}),
        ({"max_samples": 40, "max_views": 4, "min_pixels": 5}, {"max_views", "min_pixels"}),
        ({"max_samples": 40, "max_views": 5}, {"max_views", "replacement"}),
        ({"max_samples": 40, "max_views": 20, "min_pixels": 11}, {"min_pixels"}),
    ],
)
def test_which_limits_took_effect(options: dict[str, Any], expected: set[str]) -> None:
    """The image has 4 pixels of class 0 and 10 of class 1."""
    anchors, _ = _sample(torch.tensor([[0] * 4 + [1] * 10]), **options)
    assert _effects(anchors) == expected


def test_replacement_changes_nothing_where_groups_are_long_enough() -> None:
    labels, predictions = _random_maps(0, 3, 200)
    plain, _ = _sample(labels, predictions, max_samples=40, max_views=4)
    repeating, _ = _sample(labels, predictions, max_samples=40, max_views=4, replacement=True)
    assert torch.equal(plain.positions, repeating.positions)


def test_more_views_never_cost_a_class_its_anchors() -> None:
    labels = torch.tensor([[0] * 500 + [1] * 2])
    for strategy in STRATEGIES:
        for max_views in (1, 16, 400):
            anchors, _ = _sample(labels, strategy=strategy, max_samples=4000, max_views=max_views)
            assert anchors.labels.unique().tolist() == [0, 1]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), num_anchors=st.integers(0, 30), num_pixels=st.integers(-5, 60))
def test_the_pool_is_of_labelled_pixels_that_are_no_anchors(seed: int, num_anchors: int, num_pixels: int) -> None:
    labels = _random_maps(seed, 1, 50)[0].flatten()
    anchors = (labels != 255).nonzero().flatten()[:num_anchors]
    max_keys = max(0, len(anchors) + num_pixels)
    pool, pool_labels = sample_pool(labels, anchors, labels[anchors], max_keys, torch.Generator().manual_seed(seed))
    num_pixels = max_keys - len(anchors)
    num_candidates = int((labels != 255).sum()) - len(anchors)
    assert len(pool) == len(pool.unique()) == max(0, min(num_pixels, num_candidates))
    assert (labels[pool] != 255).all()
    assert torch.equal(pool_labels, labels[pool])
    assert not torch.isin(pool, anchors).any()


def test_pixels_of_the_pool_are_drawn_uniformly() -> None:
    labels, anchors = torch.zeros(12, dtype=torch.int64), torch.tensor([3, 3, 7])
    labels[0] = 255
    generator = torch.Generator().manual_seed(0)
    pools = torch.cat([sample_pool(labels, anchors, labels[anchors], 6, generator)[0] for _ in range(900)])
    times = torch.bincount(pools, minlength=12)
    candidates = torch.tensor([1, 2, 4, 5, 6, 8, 9, 10, 11])
    # Each of the 9 is in a third of 900 draws; the standard deviation is 14.
    assert times[candidates].sum() == 2700
    assert (times[candidates] - 300).abs().max() < 65


def test_the_generator_is_the_only_randomness() -> None:
    labels, predictions = _random_maps(0, 3, 200)
    state = torch.get_rng_state()
    first, _ = _sample(labels, predictions, 5, max_samples=40)
    torch.rand(3)
    again, _ = _sample(labels, predictions, 5, max_samples=40)
    other, _ = _sample(labels, predictions, 6, max_samples=40)
    torch.set_rng_state(state)
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.positions, other.positions)
    _sample(labels, predictions, 5, max_samples=40)
    assert torch.equal(torch.get_rng_state(), state)


def test_shuffling_keeps_groups_together_whatever_their_number() -> None:
    groups = torch.randint(0, 2**22, (2000,), generator=torch.Generator().manual_seed(0)) // 1000 * 1000
    counts, generator = torch.bincount(groups), torch.Generator().manual_seed(0)
    order, ranks, shuffled = shuffle_within_groups(groups, counts, generator)
    assert torch.equal(shuffled, groups[order])
    assert torch.equal(groups[order], groups.sort().values)
    for group in groups.unique()[:50].tolist():
        assert ranks[groups[order] == group].tolist() == list(range(int((groups == group).sum())))
