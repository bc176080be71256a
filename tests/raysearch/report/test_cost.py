import pytest

from raysearch.report.cost import StatusCost, cost_info, cost_parts, hours_shown
from raysearch.report.parts import Facts, Table, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial


def _view(**facts: float) -> SearchView:
    """Return a view in which the reports of a trial are one hour apart."""
    trials = [
        trial({"views": 1}, {10: 0.1, 20: 0.2, 40: 0.3}),
        trial({"views": 2}, {10: 0.1, 20: 0.2}, "stopped", metrics={"iterations_shared": 5}),
        trial({"views": 3}, {10: 0.1}, "stopped"),
        trial({"views": 4}, {10: 0.1}, "infeasible"),
        trial({"views": 5}, [], "failed"),
    ]
    history = history_of(*trials)
    for one in history.trials:
        for iteration, report in one.reports.items():
            one.reports[iteration] = type(report)(**{**report.__dict__, "seconds": 3600.0})
    return SearchView(history, "miou", max_iters=40, **facts)  # type: ignore[arg-type]


def test_hours_spent_and_saved() -> None:
    info = cost_info(_view(gpu=0.5))
    assert info is not None
    assert (info.device, info.per_trial) == ("GPU", 0.5)
    assert info.hours == 0.5 * 7
    # Trial 1 has trained 20 - 10 iterations itself in 2 hours and lacks 20: 4 hours. Trial 2 lacks 30 of 1/10 hour
    # each.
    assert info.saved_by_stopping == pytest.approx(0.5 * (4 + 3))
    # Trial 1 shared 10 iterations of 1/5 hour each.
    assert info.saved_by_sharing == pytest.approx(0.5 * 2)
    assert (info.iterations_shared, info.num_stopped, info.of_failures) == (10, 2, 0.5)
    assert info.statuses == (
        StatusCost("completed", 1, 40, 1.5),
        StatusCost("stopped", 2, 20, 1.5),
        StatusCost("infeasible", 1, 10, 0.5),
        StatusCost("failed", 1, 0, 0.0),
    )
    facts, text, table = cost_parts(info)
    assert isinstance(facts, Facts)
    assert [(fact.name, fact.value) for fact in facts.facts] == [
        ("GPU hours", "3.5"),
        ("saved by stopping early", "3.5"),
        ("saved by shared iterations", "1"),
    ]
    assert isinstance(text, Text)
    assert text.text.startswith(
        "Training each of these trials separately and to the end would have taken 8 GPU hours; the search saved 56%"
    )
    assert isinstance(table, Table)


def test_without_a_gpu_the_hours_are_those_of_cpus() -> None:
    info = cost_info(_view(cpu=2.0))
    assert info is not None
    assert (info.device, info.per_trial, info.hours) == ("CPU", 2.0, 14.0)


def test_nothing_is_known_of_stopping_without_a_budget() -> None:
    info = cost_info(SearchView(_view().history, "miou"))
    assert info is not None
    assert info.saved_by_stopping is None


@pytest.mark.parametrize(
    ("hours", "text"), [(0, "0"), (0.01234, "0.012"), (9.94, "9.9"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_hours_have_few_letters(hours: float, text: str) -> None:
    assert hours_shown(hours) == text
