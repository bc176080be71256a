import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from raysearch.report import parallel_coordinates
from raysearch.report.parallel_coordinates import parallel_coordinates_info, parallel_coordinates_parts
from raysearch.report.parts import Plot, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial


def test_heights_on_linear_log_and_categorical_axes() -> None:
    history = history_of(
        trial({"optim.lr": 0.01, "views": 5, "memory": True, "memory_size": 100}, [0.2]),
        trial({"optim.lr": 0.1, "views": 0, "memory": False}, [0.6]),
    )
    info = parallel_coordinates_info(SearchView(history, "miou"))
    assert [axis.label for axis in info.axes] == ["optim.lr", "views", "memory", "memory_size", "miou"]
    best, other = info.lines
    assert (best.number, best.quarter, other.number, other.quarter) == (1, 0, 0, 2)
    assert best.heights == (1.0, 0.0, 0.0, None, 1.0)
    assert list(other.heights) == [pytest.approx(0.5), 0.5, 1.0, 0.0, 0.0]
    assert best.texts == ("0.1", "0", "false", "not used", "0.6")
    assert list(info.axes[0].ticks) == [(0.0, "0.001"), (pytest.approx(0.5), "0.01"), (1.0, "0.1")]
    assert info.axes[1].ticks == tuple((pytest.approx(v / 10), str(v)) for v in (0, 2, 4, 6, 8, 10))
    assert info.axes[2].ticks == ((1.0, "true"), (0.0, "false"))


def test_values_outside_the_space_widen_an_axis_or_lie_below_it() -> None:
    space = {
        "a": FloatDistribution(1.0, 2.0),
        "b": FloatDistribution(1.0, 100.0, log=True),
        "c": FloatDistribution(0, 1),
    }
    history = history_of(
        trial({"a": 5.0, "b": 0.0, "c": None}, [0.2], is_default=True, space={}),
        trial({"a": 2.0, "b": 10.0, "c": 0.5}, [0.6], space=space),
    )
    lines = {line.number: line for line in parallel_coordinates_info(SearchView(history, "miou")).lines}
    assert lines[0].heights[:3] == (1.0, None, None)
    assert lines[0].texts[:3] == ("5", "0", "null")
    assert lines[1].heights[:3] == (0.25, 0.5, 0.5)


def test_choices_of_different_types_do_not_mix() -> None:
    space = {"a": CategoricalDistribution([1, True, None, "1"])}
    history = history_of(*(trial({"a": value}, [0.5], space=space) for value in (1, True, None, "1")))
    info = parallel_coordinates_info(SearchView(history, "miou"))
    assert [line.heights[0] for line in info.lines] == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_a_single_value_stands_in_the_middle() -> None:
    history = history_of(trial({"x": 3.0, "kind": "a"}, [0.5], space={}))
    info = parallel_coordinates_info(SearchView(history, "miou"))
    assert info.lines[0].heights == (0.5, 0.5, 0.5)
    assert [axis.ticks for axis in info.axes] == [((0.5, "3"),), ((0.5, "a"),), ((0.5, "0.5"),)]


def test_quarters_rank_what_can_win_by_the_declared_mode() -> None:
    curves = [[0.4], [0.1], [0.3], [0.2], [0.0]]
    history = history_of(*(trial({"views": 1}, curve) for curve in curves), mode="min")
    history.trials[4].status = "infeasible"
    info = parallel_coordinates_info(SearchView(history, "loss"))
    assert {line.number: line.quarter for line in info.lines} == {1: 0, 3: 1, 2: 2, 0: 3, 4: None}


def test_long_paths_are_broken_behind_their_dots() -> None:
    values = {"contrast.temperature": 1.0, "a.much_longer_name_than_fits": 1.0}
    (plot,) = parallel_coordinates_parts(
        parallel_coordinates_info(SearchView(history_of(trial(values, [0.5], space={})), "a<b"))
    )
    assert isinstance(plot, Plot)
    labels = plot.figure.layout.xaxis.ticktext
    assert labels == ("contrast.<br>temperature", "a.<br>much_longer_name_t<br>han_fits", "a&lt;b")


def test_trials_that_cannot_win_are_hidden_until_asked_for() -> None:
    history = history_of(
        trial({"views": 1}, [0.5]), trial({"views": 9}, [], "infeasible"), trial({"views": 9}, [], "failed")
    )
    (plot,) = parallel_coordinates_parts(parallel_coordinates_info(SearchView(history, "miou")))
    assert isinstance(plot, Plot)
    visible = {trace.name: trace.visible for trace in plot.figure.data}
    assert visible == {"infeasible": "legendonly", "failed": "legendonly", "winner": None}


def test_of_very_many_the_best_half_is_drawn_and_the_others_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_coordinates, "MAX_LINES", 4)
    values = [0.1 * n for n in range(10)]
    history = history_of(*(trial({"views": 1}, [value], is_default=value == 0.0) for value in values))
    info = parallel_coordinates_info(SearchView(history, "miou"))
    assert [line.number for line in info.lines] == [9, 8, 7, 3, 0]
    assert info.num_left_out == 5
    assert parallel_coordinates_parts(info)[1] == Text(
        "The best 2 of 10 trials and an even selection of the rest are shown."
    )
