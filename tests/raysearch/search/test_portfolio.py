"""Tests of the portfolio: configs by hand, groups whose optima differ, and scales that cannot be compared."""

from pathlib import Path

import numpy as np

from raysearch.search.portfolio import Scored, portfolio
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import toy_spec

SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}}


def spec_of(folder: Path) -> SearchSpec:
    return toy_spec(folder, space=SPACE)


def group(optimum: float, scale: float = 1.0, offset: float = 0.0, num: int = 11) -> list[Scored]:
    """Return configs on a grid, whose losses grow with the distance from the optimum."""
    return [Scored({"x": float(x)}, offset + scale * abs(float(x) - optimum)) for x in np.linspace(0.0, 1.0, num)]


def chosen(groups: list[list[Scored]], folder: Path, size: int) -> list[float]:
    return [groups[number][place].values["x"] for number, place in portfolio(groups, spec_of(folder), size)]


def test_the_first_is_good_on_average_and_the_next_where_the_first_was_not(tmp_path: Path) -> None:
    groups = [group(0.2), group(0.3), group(0.2), group(0.9)]
    first, second, *_ = chosen(groups, tmp_path, 3)
    assert 0.15 < first < 0.35
    assert 0.8 < second <= 1.0


def test_scales_of_groups_do_not_matter(tmp_path: Path) -> None:
    plain = [group(0.2), group(0.8), group(0.2)]
    scaled = [group(0.2, 100.0, -7.0), group(0.8, 0.01), group(0.2, 1.0, 1e4)]
    assert chosen(plain, tmp_path, 2) == chosen(scaled, tmp_path, 2)


def test_a_group_with_too_few_scores_has_no_say(tmp_path: Path) -> None:
    groups = [group(0.2), group(0.2), [Scored({"x": 0.9}, -100.0)]]
    assert max(chosen(groups, tmp_path, 3)) < 0.6


def test_without_two_groups_to_balance_there_is_no_portfolio(tmp_path: Path) -> None:
    assert portfolio([], spec_of(tmp_path), 5) == []
    assert portfolio([group(0.2)], spec_of(tmp_path), 5) == []
    assert portfolio([group(0.2), group(0.4, num=1)], spec_of(tmp_path), 5) == []


def test_no_config_is_chosen_twice(tmp_path: Path) -> None:
    groups = [group(0.5, num=3), group(0.5, num=3)]
    found = portfolio(groups, spec_of(tmp_path), 10)
    assert len(found) == len(set(found)) == 6
