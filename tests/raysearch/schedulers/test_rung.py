"""Tests of a rung: the trials within the slack of its cut, and the noise of a difference of scores."""

import math

from raysearch.schedulers.successive_halving import SuccessiveHalving
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
