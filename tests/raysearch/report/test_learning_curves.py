import pytest

from raysearch.report import learning_curves
from raysearch.report.learning_curves import learning_curves_info, learning_curves_parts
from raysearch.report.parts import Plot, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial

X = {"views": 3}


def test_one_curve_a_trial_in_the_order_of_iterations() -> None:
    history = history_of(
        trial(X, {40: 0.2, 20: 0.3, 60: 0.25}, is_default=True),
        trial(X, {20: 0.1}, "stopped"),
        trial(X, [], "failed"),
        trial(X, {20: 0.3, 40: 0.6}, "running"),
    )
    info = learning_curves_info(SearchView(history, "miou", rungs=(20, 60, 180)))
    assert [(c.number, c.points) for c in info.curves] == [
        (0, ((20, 0.3), (40, 0.2), (60, 0.25))),
        (1, ((20, 0.1),)),
        (3, ((20, 0.3), (40, 0.6))),
    ]
    assert [(c.is_winner, c.is_default) for c in info.curves] == [(False, True), (False, False), (True, False)]
    assert info.curves[0].best == (20, 0.3)
    assert info.rungs == (20, 60)  # no trial has reached 180
    assert info.every == 1


def test_stops_rungs_winner_and_default_are_marked() -> None:
    history = history_of(
        trial(X, [0.2, 0.3], is_default=True),
        trial(X, [0.1], "stopped"),
        trial(X, [0.4], "stopped"),
        trial(X, [0.3, 0.9]),
    )
    (plot,) = learning_curves_parts(learning_curves_info(SearchView(history, "miou", rungs=(1,))))
    assert isinstance(plot, Plot)
    traces = {trace.name: trace for trace in plot.figure.data if trace.name}
    assert list(traces) == ["stopped", "stop", "default", "winner"]
    assert traces["stopped"].x == (1, None, 1)  # a gap between two trials
    assert traces["stopped"].customdata == (1, None, 2)
    assert (traces["stop"].x, traces["stop"].y) == ((1, 1), (0.1, 0.4))
    assert traces["winner"].y == (0.3, 0.9)
    assert traces["default"].y == (0.2, 0.3)
    assert [shape.x0 for shape in plot.figure.layout.shapes] == [1]


def test_too_many_reports_are_thinned_but_never_the_best_or_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_curves, "MAX_POINTS", 5)
    curve = [0.1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7]
    history = history_of(trial(X, curve), trial(X, [0.1, 0.2]))
    info = learning_curves_info(SearchView(history, "miou"))
    assert info.every == 2
    assert [[iteration for iteration, _ in c.points] for c in info.curves] == [[1, 3, 5, 7, 8], [1, 2]]
    monkeypatch.setattr(learning_curves, "MAX_POINTS", 2)
    info = learning_curves_info(SearchView(history, "miou"))
    assert info.every == 5
    assert [iteration for iteration, _ in info.curves[0].points] == [1, 3, 6, 8]
    text = learning_curves_parts(info)[-1]
    assert isinstance(text, Text)
    assert "One report in 5" in text.text
