"""Tests of PASHA: soft ranks, the noise of curves, and the rise of the top rung."""

import pytest

from raysearch.schedulers.progressive_halving import ProgressiveHalving, noise_level, soft_ranks_agree
from tests.raysearch.schedulers.seen import stops


def test_soft_ranks() -> None:
    below, top = {0: 0.1, 1: 0.2, 2: 0.5}, {0: 1.2, 1: 1.1, 2: 1.5}
    assert not soft_ranks_agree(below, top, 0.0)
    assert soft_ranks_agree(below, top, 0.11), "0 and 1 are exchangeable"
    assert not soft_ranks_agree(below, {0: 1.5, 1: 1.1, 2: 1.2}, 0.11), "2 left its group"
    assert soft_ranks_agree(below, {0: 1.0, 1: 1.1, 2: 1.2}, 0.0)
    assert soft_ranks_agree({0: 0.2, 1: 0.1}, {0: 1.0, 1: 1.0}, 0.0), "a tie contradicts nothing"


def test_noise_is_what_separates_curves_that_cross_and_cross_back() -> None:
    flat = {1: 0.0, 2: 0.0, 3: 0.0}
    crossing = {1: 0.1, 2: -0.1, 3: 0.3}
    once = {1: 0.9, 2: 0.9, 3: -0.9}
    assert noise_level({0: flat, 1: crossing}) == pytest.approx(0.3)
    assert noise_level({0: flat, 1: once}) == 0.0
    assert noise_level({0: flat, 1: {1: 0.1, 2: -0.1}}) == 0.0
    tenths = {number: {1: 0.1, 2: -0.1, 3: 0.1 * number} for number in range(1, 12)}
    pairs = [noise_level({0: flat, number: curve}) for number, curve in tenths.items()]
    assert pairs == pytest.approx([0.1 * number for number in tenths])
    # Only pairs with `flat` cross: the curves of `tenths` agree with one another up to the last report.
    assert noise_level({0: flat, **tenths}) == pytest.approx(1.0), "the 90th percentile of 0.1 to 1.1"


def pasha() -> ProgressiveHalving:
    return ProgressiveHalving(grace_iters=1, max_iters=8, reduction_factor=2)


def test_a_stable_ranking_stops_every_trial_at_the_top_rung() -> None:
    rule = pasha()
    assert rule.rungs == (1, 2, 4, 8)
    for number in range(6):
        assert not stops(rule, number, 1, 0.1 * number), "ever better: among the best of the rung"
        assert stops(rule, number, 2, 1 + 0.1 * number)
    assert rule.top == 1


def test_an_exchange_beyond_the_noise_raises_the_top_rung() -> None:
    rule = pasha()
    stops(rule, 0, 1, 0.5)
    assert stops(rule, 0, 2, 0.6)
    stops(rule, 1, 1, 0.4)
    assert not stops(rule, 1, 2, 0.9), "worse below, better at the top: the ranking is not settled"
    assert rule.top == 2
    assert stops(rule, 1, 4, 1.0), "alone in the new top rung"
    stops(rule, 2, 1, 0.6)
    assert stops(rule, 2, 2, 0.7), "second of three at a rung that lets one on"


def test_the_top_rung_rises_to_the_full_budget_at_most() -> None:
    rule = pasha()
    tops = []
    for iteration, values in zip(rule.rungs, [(0.1, 0.2), (1.0, 0.1), (0.1, 0.2), (1.0, 0.1)], strict=True):
        for number, value in enumerate(values):
            stops(rule, number, iteration, value)
        tops.append(rule.rungs[rule.top])
    assert tops == [2, 4, 8, 8]
