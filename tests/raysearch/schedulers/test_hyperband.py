"""Tests of Hyperband: the sizes of its brackets, and trials that compete within their own."""

from collections import Counter

import pytest

from raysearch.schedulers.hyperband import Hyperband, bracket_sizes
from raysearch.schedulers.successive_halving import SuccessiveHalving
from tests.raysearch.schedulers.seen import decisions, random_reports, stops


def test_bracket_sizes_are_the_papers() -> None:
    assert bracket_sizes(4, 3) == [81, 34, 15, 8, 5]
    assert bracket_sizes(0, 3) == [1]


def hyperband(seed: int = 0) -> Hyperband:
    return Hyperband(grace_iters=1, max_iters=27, reduction_factor=3, seed=seed)


def test_brackets_begin_one_rung_later_each_and_are_drawn_by_size() -> None:
    rule = hyperband()
    assert [bracket.rungs for bracket in rule.brackets] == [(1, 3, 9), (3, 9), (9,), ()]
    counts = Counter(rule.bracket_of(number) for number in range(3000))
    sizes = bracket_sizes(3, 3)
    for bracket, size in enumerate(sizes):
        assert counts[bracket] / 3000 == pytest.approx(size / sum(sizes), abs=0.03)
    assert [hyperband().bracket_of(n) for n in range(99)] == [hyperband().bracket_of(n) for n in range(99)]
    assert [hyperband(1).bracket_of(n) for n in range(99)] != [hyperband().bracket_of(n) for n in range(99)]


def test_a_trial_competes_in_its_own_bracket_alone() -> None:
    rule, reports = hyperband(), random_reports(2, num_trials=40)
    reports = [(number, iteration * 3, value) for number, iteration, value in reports]
    found = decisions(rule, reports)
    alone = [SuccessiveHalving(grace_iters=g, max_iters=27, reduction_factor=3) for g in (1, 3, 9, 27)]
    assert found == [stops(alone[rule.bracket_of(report[0])], *report) for report in reports]
    assert not any(stop for stop, (number, *_) in zip(found, reports, strict=True) if rule.bracket_of(number) == 3)
