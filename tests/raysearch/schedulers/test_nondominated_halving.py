"""Tests with decisions computed by hand, for losses at a rung of iteration 2 that passes half of the trials."""

from collections.abc import Sequence

from raysearch.schedulers import Decision, Observation
from raysearch.schedulers.nondominated_halving import NondominatedHalving


def halving() -> NondominatedHalving:
    return NondominatedHalving(grace_iters=2, max_iters=16, reduction_factor=2)


def stops(rule: NondominatedHalving, number: int, iteration: int, losses: Sequence[float]) -> bool:
    return rule.observe(Observation(number, iteration, losses)) is Decision.STOP


def test_a_rung_lets_the_best_half_on_front_by_front() -> None:
    rule = halving()
    losses = [(0.5, 0.5), (0.6, 0.6), (0.4, 0.4), (0.3, 0.9), (0.7, 0.7), (0.45, 0.45)]
    # Of 1: best 1, trial 0. Of 2: best 1, trial 0. Of 3: best 1, trial 2. Of 4: best 2, the front of trials 2 and 3. Of
    # 5: best 2, the same. Of 6: best 3, that front and trial 5 of the next one, which dominates 0, 1 and 4.
    assert [stops(rule, number, 2, loss) for number, loss in enumerate(losses)] == [
        False,
        True,
        False,
        False,
        True,
        False,
    ]


def test_where_a_front_is_cut_what_stays_lies_far_apart() -> None:
    rule = halving()
    losses = [(0.0, 1.0), (1.0, 0.0), (0.2, 0.8), (0.1, 0.9), (0.9, 0.1), (0.5, 0.5)]
    # All are on one front. Up to 3: best 1, trial 0, the best in the first objective. Of 4 and of 5: best 2, its ends 0
    # and 1. Of 6: best 3, the ends and trial 5, .71 from both.
    assert [stops(rule, number, 2, loss) for number, loss in enumerate(losses)] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]


def test_one_objective_is_plain_successive_halving() -> None:
    rule = halving()
    assert [stops(rule, n, 2, (-v,)) for n, v in enumerate([0.5, 0.4, 0.6, 0.55, 0.3])] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_equals_go_on_together() -> None:
    rule = halving()
    assert not any(stops(rule, number, 2, (0.5, 0.5)) for number in range(4))


def test_nothing_stops_between_rungs_and_a_late_report_enters_every_rung_before_it() -> None:
    rule = halving()
    for iteration in (2, 4):
        assert not stops(rule, 0, iteration, (0.1, 0.1))
    assert not stops(rule, 1, 1, (0.9, 0.9))
    assert not stops(rule, 0, 3, (0.9, 0.9))
    assert stops(rule, 1, 5, (0.9, 0.9)), "dominated at the rungs 2 and 4"
    assert not stops(rule, 2, 5, (0.05, 0.05)), "dominates both at both rungs"


def test_a_repeated_report_changes_nothing() -> None:
    rule = halving()
    stops(rule, 0, 2, (0.5, 0.5))
    stops(rule, 0, 2, (0.9, 0.9))
    assert stops(rule, 1, 2, (0.6, 0.6)), "(0.5, 0.5) still stands at the rung"
