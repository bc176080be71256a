"""Tests of a rung: the trials within the slack of its cut, and the noise of a difference of scores."""

import math
import random

import pytest

from raysearch.schedulers.protocol import Decision, Observation
from raysearch.schedulers.successive_halving import PromotingHalving, SuccessiveHalving
from tests.raysearch.schedulers.seen import stops


def test_a_trial_within_the_slack_of_the_cut_goes_on() -> None:
    rule = SuccessiveHalving(grace_iters=2, max_iters=16, reduction_factor=2, slack=0.1)
    assert not stops(rule, 0, 2, 0.5)
    assert not stops(rule, 1, 2, 0.41), "0.09 behind the only one that is let on"
    assert stops(rule, 2, 2, 0.39)
    assert not stops(rule, 3, 2, 0.6)
    assert stops(rule, 4, 2, 0.39), "the cut of five is the second, 0.5, and not what slack let through"


def test_the_noise_of_a_difference_is_paired() -> None:
    rule = SuccessiveHalving(grace_iters=2, max_iters=16, reduction_factor=2, slack="auto")
    assert not stops(rule, 0, 2, 0.5, [0.3, 0.5, 0.7])
    # The draws are 0.01, 0 and 0.02 lower: a standard error of 0.01, however much the draws themselves vary.
    assert not stops(rule, 1, 2, 0.491, [0.29, 0.5, 0.68])
    assert stops(rule, 2, 2, 0.489, [0.29, 0.5, 0.68])
    assert not stops(rule, 3, 2, 0.3, [0.1, 0.2, 0.9]), "to trial 1, now the cut: 0.19 and 0.3 lower, 0.22 higher"
    assert stops(rule, 4, 2, 0.4905), "nothing is known of its noise"
    assert stops(rule, 5, 2, 0.4904, [0.29, 0.5]), "nor of that of its difference to trial 4, now the cut"


def test_a_draw_without_a_score_says_nothing_of_the_noise() -> None:
    rule = SuccessiveHalving(grace_iters=2, max_iters=16, reduction_factor=2, slack="auto")
    assert not stops(rule, 0, 2, 0.5, [0.3, math.nan, 0.5, 0.7])
    # Besides the NaN, they are 0.01, 0 and 0.02 lower: a standard error of 0.01.
    assert not stops(rule, 1, 2, 0.491, [0.29, 0.4, 0.5, 0.68])
    assert stops(rule, 2, 2, 0.489, [0.29, 0.4, 0.5, 0.68])
    assert stops(rule, 3, 2, 0.4905, [math.nan, math.nan, math.nan, 0.7]), "one draw has no deviation"


class Counted(float):
    """A loss that counts how often it is compared."""

    num_comparisons = 0

    def __lt__(self, other: float) -> bool:
        Counted.num_comparisons += 1
        return float(self) < other

    def __eq__(self, other: object) -> bool:
        Counted.num_comparisons += 1
        return float(self) == other

    __hash__ = float.__hash__


@pytest.mark.parametrize("rule_of", [SuccessiveHalving, PromotingHalving])
def test_the_comparisons_of_a_report_grow_with_the_logarithm_of_the_trials(rule_of: type[SuccessiveHalving]) -> None:
    rule, rng = rule_of(grace_iters=1, max_iters=3, reduction_factor=3), random.Random(0)
    for number in range(2000):
        if number >= 1000:
            Counted.num_comparisons = 0
        rule.observe(Observation(number, 1, (Counted(rng.random()),)))
        assert number < 1000 or Counted.num_comparisons < 100, "a ranking of all trials takes thousands"


class Paused(set[int]):
    """Numbers of paused trials that count how often they are looked up."""

    num_lookups = 0

    def __contains__(self, number: object) -> bool:
        Paused.num_lookups += 1
        return super().__contains__(number)


def test_a_promotion_looks_up_no_more_trials_in_a_large_rung() -> None:
    rule, rng, paused = PromotingHalving(grace_iters=1, max_iters=9, reduction_factor=3), random.Random(0), Paused()
    reached = dict.fromkeys(range(1000), 0)
    new = iter(reached)
    Paused.num_lookups, num_asked = 0, 0
    while (number := rule.promotable(paused)) is not None or (number := next(new, None)) is not None:
        paused.discard(number)
        reached[number] += 1
        num_asked += 1
        while rule.observe(Observation(number, reached[number], (rng.random(),))) is Decision.CONTINUE:
            reached[number] += 1
            if reached[number] >= 9:
                break
        else:
            paused.add(number)
    assert sum(iteration == 9 for iteration in reached.values()) > 90, "one in nine has trained to the end"
    assert Paused.num_lookups < 4 * num_asked
