from raysearch.report import failures
from raysearch.report.failures import ErrorGroup, failures_info, failures_parts
from raysearch.report.parts import Table, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial

X = {"views": 3}


def test_statuses_are_counted_and_equal_errors_are_one() -> None:
    history = history_of(
        trial(X, [0.1]),
        trial(X, [], "failed", error="boom"),
        trial(X, [], "infeasible", error="out of memory"),
        trial(X, [], "infeasible", error="boom"),
        trial(X, [0.1], "stopped"),
        trial(X, [], "infeasible", error="out of memory"),
        trial(X, [], "running"),
    )
    history.trials[1].workers_lost = 3
    info = failures_info(SearchView(history, "miou"))
    assert info.counts == (("completed", 1), ("stopped", 1), ("running", 1), ("infeasible", 3), ("failed", 1))
    assert info.errors == (
        ErrorGroup("infeasible", "out of memory", (2, 5)),
        ErrorGroup("failed", "boom", (1,)),
        ErrorGroup("infeasible", "boom", (3,)),
    )
    assert info.workers_lost == 3
    errors = failures_parts(info)[-1]
    assert isinstance(errors, Table)
    assert errors.rows[0] == ("out of memory", "infeasible", "2, 5", "2")


def test_long_errors_and_many_errors_are_cut() -> None:
    history = history_of(*(trial(X, [], "failed", error=f"{n} start {'x' * 9000} end {n}") for n in range(25)))
    *_, table, text = failures_parts(failures_info(SearchView(history, "miou")))
    assert isinstance(table, Table)
    assert len(table.rows) == failures.MAX_ERRORS
    error = table.rows[3][0]
    assert len(error) < 2_100
    assert error.startswith("3 start")
    assert error.endswith("end 3")
    assert text == Text("5 more errors are in trials.parquet.")


def test_the_trials_of_a_common_error_are_named_in_part() -> None:
    history = history_of(*(trial(X, [], "failed", error="boom") for _ in range(12)))
    table = failures_parts(failures_info(SearchView(history, "miou")))[-1]
    assert isinstance(table, Table)
    assert table.rows == (("boom", "failed", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 …", "12"),)


def test_a_clean_search_says_so() -> None:
    parts = failures_parts(failures_info(SearchView(history_of(trial(X, [0.1])), "miou")))
    assert parts[1:] == [Text("No trial has failed.")]
