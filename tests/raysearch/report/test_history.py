from raysearch.report.history import history_info, history_parts
from raysearch.report.parts import Plot, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial

X = {"views": 3}


def test_incumbents_are_the_trials_that_led() -> None:
    history = history_of(
        trial(X, [0.3, 0.2], is_default=True),
        trial(X, [0.9], "infeasible"),
        trial(X, [0.25], "stopped"),
        trial(X, [], "failed"),
        trial(X, [0.3, 0.5], "running"),
        trial(X, [0.5]),
    )
    info = history_info(SearchView(history, "miou"))
    assert info.incumbents == ((0, 0.3), (4, 0.5))
    assert [(p.number, p.value, p.iteration, p.status) for p in info.points] == [
        (0, 0.3, 1, "completed"),
        (1, 0.9, 1, "infeasible"),
        (2, 0.25, 1, "stopped"),
        (4, 0.5, 2, "running"),
        (5, 0.5, 1, "completed"),
    ]
    assert [p.number for p in info.points if p.is_winner] == [4]
    assert [p.number for p in info.points if p.is_default] == [0]
    assert info.num_trials == 6

    plot, text = history_parts(info)
    assert isinstance(plot, Plot)
    line = plot.figure.data[0]
    assert (line.x, line.y) == ((0, 4, 5), (0.3, 0.5, 0.5))
    assert [trace.name for trace in plot.figure.data[1:5]] == ["completed", "stopped", "running", "infeasible"]
    assert text == Text("Not shown: 1 trial without a value.")


def test_what_came_from_before_the_search_is_counted_and_not_drawn() -> None:
    history = history_of(trial(X, [0.3], is_default=True), trial(X, [0.4]), trial(X, [0.2]))
    history.trials[0].origin, history.trials[1].origin = "default config", "first point: notes.csv row 2"
    history.evidence = history_of(trial(X, [0.9]), trial(X, [0.8])).trials
    info = history_info(SearchView(history, "miou"))
    assert [point.value for point in info.points] == [0.3, 0.4, 0.2]
    assert info.incumbents == ((0, 0.3), (1, 0.4))
    assert history_parts(info)[1:] == [
        Text("1 trial used values from notes or from earlier runs (`search.warm_start`)."),
        Text("The search also learned from 2 trials of earlier runs, not shown here."),
    ]


def test_a_smaller_loss_leads() -> None:
    history = history_of(trial(X, [2.0]), trial(X, [3.0]), trial(X, [1.0]), mode="min")
    assert history_info(SearchView(history, "loss")).incumbents == ((0, 2.0), (2, 1.0))


def test_trials_that_cannot_win_are_drawn_without_a_leader() -> None:
    info = history_info(SearchView(history_of(trial(X, [0.9], "infeasible")), "miou"))
    assert info.incumbents == ()
    assert isinstance(history_parts(info)[0], Plot)
