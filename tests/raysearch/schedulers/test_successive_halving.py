import math

import pytest

from raysearch.schedulers.successive_halving import PromotingHalving, SuccessiveHalving, rung_iterations
from tests.raysearch.schedulers.seen import stops


@pytest.mark.parametrize(
    ("grace", "full", "factor", "rungs"),
    [(1, 27, 3, (1, 3, 9)), (100, 600, 2, (100, 200, 400)), (500, 500, 3, ()), (2, 9, 2, (2, 4, 8))],
)
def test_rungs_are_powers_of_the_factor_below_the_budget(
    grace: int, full: int, factor: int, rungs: tuple[int, ...]
) -> None:
    assert rung_iterations(grace, full, factor) == rungs


def halving() -> SuccessiveHalving:
    return SuccessiveHalving(grace_iters=2, max_iters=16, reduction_factor=2)


def test_a_rung_lets_the_best_half_on() -> None:
    rule = halving()
    decisions = [stops(rule, number, 2, value) for number, value in enumerate([0.5, 0.4, 0.6, 0.55, 0.3])]
    # Of 1: best 1. Of 2: best 1. Of 3: best 1. Of 4: best 2 (0.6, 0.55). Of 5: best 2.
    assert decisions == [False, True, False, False, True]


def test_nothing_stops_between_rungs_or_at_the_end() -> None:
    rule = halving()
    stops(rule, 0, 2, 0.9)
    assert not stops(rule, 1, 1, 0.0)
    assert not stops(rule, 0, 3, 0.0)
    assert not stops(rule, 0, 16, 0.0)


def test_a_report_beyond_two_rungs_enters_both() -> None:
    rule = halving()
    for iteration in (2, 4):
        stops(rule, 0, iteration, 0.9)
    assert stops(rule, 1, 5, 0.1)
    assert not stops(rule, 2, 5, 0.95)
    assert not stops(rule, 3, 2, 0.94), "0.94 is second of four at the first rung"


def test_a_repeated_report_changes_nothing() -> None:
    rule = halving()
    stops(rule, 0, 2, 0.5)
    stops(rule, 0, 2, 0.1)
    assert stops(rule, 1, 2, 0.4), "0.5 still stands at the rung"


def test_ties_go_on_together() -> None:
    rule = halving()
    assert not any(stops(rule, number, 2, 0.5) for number in range(4))


# With slack


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


# Promotion


def promoting(**settings: object) -> PromotingHalving:
    return PromotingHalving(grace_iters=2, max_iters=16, reduction_factor=2, **settings)  # type: ignore[arg-type]


def test_a_trial_pauses_at_every_rung_once() -> None:
    rule = promoting()
    assert [stops(rule, 0, iteration, 0.5) for iteration in (1, 2, 2, 3, 4, 5, 8, 16)] == [
        False, True, False, False, True, False, True, False,
    ]  # fmt: skip


def test_the_best_half_of_a_rung_is_promoted_best_first() -> None:
    rule = promoting()
    stops(rule, 0, 2, 0.5)
    assert rule.promotable([0]) is None, "half of one is none"
    stops(rule, 1, 2, 0.4)
    assert rule.promotable([0, 1]) == 0
    assert rule.promotable([1]) is None, "0 is running"
    stops(rule, 2, 2, 0.6)
    stops(rule, 3, 2, 0.7)
    assert rule.promotable([1, 2, 3]) == 3
    assert rule.promotable([1, 2]) == 2
    assert rule.promotable([1]) is None, "of four, 0.7 and 0.6 go on; 0 went on when it was the best"


def test_the_highest_rung_comes_first() -> None:
    rule = promoting()
    for number, value in enumerate([0.5, 0.4, 0.6, 0.7]):
        stops(rule, number, 2, value)
    stops(rule, 0, 4, 0.9)
    assert rule.promotable([0, 1, 2, 3]) == 3, "the second rung has one trial alone"
    stops(rule, 3, 4, 0.8)
    assert rule.promotable([0, 1, 2, 3]) == 0
    assert rule.promotable([1, 2, 3]) == 2, "3 waits in the second rung; in the first it has been let on"


def test_a_small_rung_lets_its_best_on_when_asked_to() -> None:
    rule = promoting()
    stops(rule, 0, 2, 0.5)
    assert rule.promotable([0], at_least=1) == 0
    stops(rule, 1, 2, 0.6)
    assert rule.promotable([0], at_least=1) is None, "the best has gone on"


def test_slack_promotes_who_is_close_after_the_best() -> None:
    rule = promoting(slack=0.1)
    for number, value in enumerate([0.5, 0.4, 0.45]):
        stops(rule, number, 2, value)
    assert rule.promotable([0, 1, 2]) == 0
    assert rule.promotable([1, 2]) == 2
    stops(rule, 3, 2, 0.6)
    assert rule.promotable([1, 2]) == 2
    assert rule.promotable([1]) == 1, "0.1 behind the second of four"
    stops(rule, 4, 2, 0.61)
    assert rule.promotable([1]) is None
