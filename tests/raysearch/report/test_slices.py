from itertools import pairwise

import pytest

from raysearch.history.events import Mode
from raysearch.report.parts import Grid, Text
from raysearch.report.slices import MAX_TRIALS, slices_info, slices_parts
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial


def test_trials_are_compared_where_all_of_them_have_been() -> None:
    history = history_of(
        trial({"optim.lr": 0.01, "memory": False}, {1: 0.2, 2: 0.4, 4: 0.9}, is_default=True),
        trial({"optim.lr": 0.02, "memory": True}, {1: 0.3}, "stopped"),
        trial({"optim.lr": 0.03, "memory": True}, {1: 0.5, 2: 0.6, 4: 0.7}),
        trial({"optim.lr": 0.04}, {1: 0.9}, "infeasible"),
    )
    info = slices_info(SearchView(history, "miou"))
    assert info is not None
    assert (info.metric, info.iteration, info.num_trials, info.num_drawn) == ("miou", 1, 3, 3)
    rate, memory = info.slices
    assert (rate.path, rate.is_log, rate.choices) == ("optim.lr", True, ())
    assert [(p.number, p.value, p.score, p.status) for p in rate.points] == [
        (0, 0.01, 0.2, "completed"),
        (1, 0.02, 0.3, "stopped"),
        (2, 0.03, 0.5, "completed"),
    ]
    assert [(p.is_winner, p.is_default) for p in rate.points] == [(True, True), (False, False), (False, False)]
    assert (memory.path, memory.choices) == ("memory", ("true", "false"))
    assert [p.value for p in memory.points] == ["false", "true", "true"]


def test_a_value_without_a_place_on_its_axis_is_left_out() -> None:
    history = history_of(trial({"optim.lr": 0.0, "views": 1}, [0.1]), trial({"optim.lr": 0.1}, [0.2]))
    info = slices_info(SearchView(history, "miou"))
    assert info is not None
    assert [(one.path, [p.number for p in one.points]) for one in info.slices] == [("optim.lr", [1]), ("views", [0])]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_very_many_trials_the_best_half_is_drawn_and_the_others_thinned(mode: Mode) -> None:
    history = history_of(*(trial({"views": n % 10}, [float(n)]) for n in range(1000)), mode=mode)
    view = SearchView(history, "miou")
    view.__dict__["paths_by_importance"] = ("views",)
    info = slices_info(view)
    assert info is not None
    assert (info.num_trials, info.num_drawn) == (1000, MAX_TRIALS)
    drawn = [p.number for p in info.slices[0].points]
    best = set(range(800, 1000)) if mode == "max" else set(range(200))
    assert best <= set(drawn)
    others = sorted(set(drawn) - best)
    assert {b - a for a, b in pairwise(others)} == {4}
    text, grid = slices_parts(info)
    assert isinstance(text, Text)
    assert "The best 200 of 1000 trials" in text.text
    assert isinstance(grid, Grid)
    assert len(grid.plots) == 1


def test_nothing_reported_is_said() -> None:
    info = slices_info(SearchView(history_of(trial({"views": 1}, [], "running")), "miou"))
    assert info is None
    assert slices_parts(info) == [Text("No trial has a score yet. Failed and infeasible trials do not count.")]
