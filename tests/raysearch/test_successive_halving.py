import pytest

from raysearch.schedulers.successive_halving import SuccessiveHalving, rung_iterations


@pytest.mark.parametrize(
    ("grace", "full", "factor", "rungs"),
    [(1, 27, 3, (1, 3, 9)), (100, 600, 2, (100, 200, 400)), (500, 500, 3, ()), (2, 9, 2, (2, 4, 8))],
)
def test_rungs_are_powers_of_the_factor_below_the_budget(
    grace: int, full: int, factor: int, rungs: tuple[int, ...]
) -> None:
    assert rung_iterations(grace, full, factor) == rungs


def halving(mode: str = "max") -> SuccessiveHalving:
    return SuccessiveHalving(mode=mode, grace_iters=2, max_iters=16, reduction_factor=2)  # type: ignore[arg-type]


def test_a_rung_lets_the_best_half_on() -> None:
    rule = halving()
    decisions = [rule.observe(number, 2, value) for number, value in enumerate([0.5, 0.4, 0.6, 0.55, 0.3])]
    # Of 1: best 1. Of 2: best 1. Of 3: best 1. Of 4: best 2 (0.6, 0.55). Of 5: best 2.
    assert decisions == [False, True, False, False, True]


def test_small_is_good_when_minimising() -> None:
    rule = halving("min")
    assert [rule.observe(n, 2, v) for n, v in enumerate([0.5, 0.6, 0.4])] == [False, True, False]


def test_nothing_stops_between_rungs_or_at_the_end() -> None:
    rule = halving()
    rule.observe(0, 2, 0.9)
    assert not rule.observe(1, 1, 0.0)
    assert not rule.observe(0, 3, 0.0)
    assert not rule.observe(0, 16, 0.0)


def test_a_report_beyond_two_rungs_enters_both() -> None:
    rule = halving()
    for iteration in (2, 4):
        rule.observe(0, iteration, 0.9)
    assert rule.observe(1, 5, 0.1)
    assert not rule.observe(2, 5, 0.95)
    assert not rule.observe(3, 2, 0.94), "0.94 is second of four at the first rung"


def test_a_repeated_report_changes_nothing() -> None:
    rule = halving()
    rule.observe(0, 2, 0.5)
    rule.observe(0, 2, 0.1)
    assert rule.observe(1, 2, 0.4), "0.5 still stands at the rung"


def test_ties_go_on_together() -> None:
    rule = halving()
    assert not any(rule.observe(number, 2, 0.5) for number in range(4))
