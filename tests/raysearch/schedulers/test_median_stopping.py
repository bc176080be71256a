"""Tests of the median rule."""

from raysearch.schedulers.median_stopping import MedianStopping
from tests.raysearch.schedulers.seen import random_reports, stops


def test_the_best_value_is_held_against_the_median_of_running_averages() -> None:
    rule = MedianStopping(grace_iters=2)
    for number, curve in enumerate([(0.2, 0.4), (0.4, 0.8), (0.6, 0.6)]):  # averages at 2: 0.3, 0.6, 0.6
        for iteration, value in enumerate(curve, start=1):
            assert not stops(rule, number, iteration, value), "fewer than three others"
    assert not stops(rule, 3, 1, 0.0), "within the grace"
    assert stops(rule, 3, 2, 0.59)
    assert not stops(rule, 4, 1, 0.6)
    assert not stops(rule, 4, 2, 0.1), "its best value by then is the median, and not strictly worse"


def test_averages_at_a_step_between_the_reports_of_others() -> None:
    rule = MedianStopping(grace_iters=1)
    for number in range(3):
        stops(rule, number, 2, 0.2)
        stops(rule, number, 6, 0.8)
    assert not stops(rule, 3, 4, 0.2), "at 4 the others' average is 0.2: that of their reports at 2"
    assert stops(rule, 4, 4, 0.19)
    for number in range(5, 12):  # these pass step 4 without a report there
        stops(rule, number, 3, 0.4)
        stops(rule, number, 6, 0.8)
    assert stops(rule, 12, 4, 0.39), "the median at 4 is now 0.4"


def test_a_plain_count_of_the_median_rule_agrees() -> None:
    reports = random_reports(11)
    rule = MedianStopping(grace_iters=3)
    curves: dict[int, dict[int, float]] = {}
    for number, step, value in reports:
        averages = []
        for other, curve in curves.items():
            until = [v for i, v in curve.items() if i <= step]
            if other != number and max(curve) >= step and until:
                averages.append(sum(until) / len(until))
        averages.sort()
        curves.setdefault(number, {})[step] = value
        half = len(averages) // 2
        expected = False
        if step >= 3 and len(averages) >= 3:
            middle = averages[half] if len(averages) % 2 else (averages[half - 1] + averages[half]) / 2
            expected = min(curves[number].values()) > middle
        assert stops(rule, number, step, -value) == expected
