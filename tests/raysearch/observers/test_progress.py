"""Tests of the progress of a search: counted by hand, and equal whether counted at once or trial by trial."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from raysearch.history.events import Report
from raysearch.history.history import History
from raysearch.history.journal import Journal
from raysearch.observers.progress import Leader, Pace, Progress, ProgressCount, RungCount
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.operations import num_operations
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import run_trial, toy_spec


def by_hand(tmp_path: Path, **sections: Any) -> tuple[SearchSpec, History]:
    """Return a search with rungs at 2 and 4 of 8 iterations."""
    fast = {"images_per_second": 50.0}
    history = history_of(
        trial({"x": 0.9}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.55], is_default=True),
        trial({"x": 0.5}, [0.1, 0.15], "stopped"),
        trial({"x": 0.6}, [0.3, 0.4, 0.6, 0.7], "running", metrics=fast),
        trial({"x": 0.7}, [0.9, 0.95, 0.99], "infeasible"),
        trial({"x": 0.65}, [0.3, 0.4], "running"),
        trial({"x": 0.1}, [], "failed"),
        trial({"x": 0.2}, [], "running", metrics=fast),
        target=9,
    )
    history.trials[4].is_paused = True
    return toy_spec(tmp_path, **sections), history


def test_a_search_by_hand(tmp_path: Path) -> None:
    spec, history = by_hand(tmp_path)
    progress = ProgressCount(spec, history).progress()
    assert (progress.started, progress.target_trials, progress.paused) == (7, 9, 1)
    assert progress.ended == {"completed": 1, "stopped": 1, "infeasible": 1, "failed": 1}
    assert progress.rungs == (RungCount(2, reached=5, went_on=3), RungCount(4, reached=2, went_on=1))
    assert progress.best is history.trials[2], "an infeasible trial cannot be the best"
    assert progress.best_report is not None
    assert (progress.best_report.iteration, progress.default_value) == (4, 0.55)
    first, second = progress.running
    assert (first.number, first.iteration, first.value, first.rung) == (2, 4, 0.7, 4)
    assert (second.number, second.iteration, second.value, second.rung) == (6, 0, None, None)
    assert progress.images_per_second == 50.0
    assert progress.pace == Pace(in_reports=1.5, per_report=1.0, trained=0)


def test_counting_along_gives_what_counting_at_the_end_does(tmp_path: Path) -> None:
    """In a search with diverging and paused trials, every update agrees with a new count of the history."""
    promotion = {"name": "asha", "form": "promotion", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8}
    spec = toy_spec(tmp_path, scheduler=promotion)
    seen: list[Progress] = []
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        count, leader = ProgressCount(spec, search.history), Leader(search.history)

        def compare() -> None:
            changed = search.take_changed()
            count.take(changed)
            leader.take(changed)
            seen.append(count.progress())
            fresh = ProgressCount(spec, search.history).progress()
            assert seen[-1] == replace(fresh, pace=seen[-1].pace)
            best = search.history.best_trial()
            assert leader.number == (None if best is None else best.number)

        while (proposal := search.propose()) is not None:
            run_trial(search, proposal, after_report=compare)
            compare()
        compare()
        assert search.take_changed() == []
    assert {status for progress in seen for status in progress.ended} == {"completed", "stopped", "infeasible"}
    assert max(progress.paused for progress in seen) > 1


def test_the_pace_has_the_time_between_trials_in_it(tmp_path: Path) -> None:
    spec, history = by_hand(tmp_path)
    count = ProgressCount(spec, history)
    one, other = history.trials[2], history.trials[6]
    one.reports[8] = Report(8, 0.8, {"iterations_shared": 1}, None, 6.0, False)
    other.reports[2] = Report(2, 0.8, {}, None, 3.0, False)
    count.take([one, other])
    pace = count.progress().pace
    assert pace.trained == 3 + 2
    assert pace.in_reports == (5 * 1.5 + 6.0 + 3.0) / (5 + 3 + 2)
    assert pace.per_report == 10 / 7
    assert pace.seconds_per_iteration(1.0, concurrent=2) == pace.in_reports, "no quicker than the reports say"
    assert pace.seconds_per_iteration(100.0, concurrent=2) == 100 * 2 / (5 + 2 * 10 / 7)
    assert Pace(None, 0.0, 0).seconds_per_iteration(10.0, 2) is None


def test_a_refresh_costs_the_same_however_many_trials_have_ended(tmp_path: Path) -> None:
    assert operations_of_a_refresh(tmp_path, 10_000) == operations_of_a_refresh(tmp_path, 100)


def operations_of_a_refresh(tmp_path: Path, num_ended: int) -> int:
    ended = (trial({"x": 0.5}, [0.1, 0.2, 0.3], "stopped") for _ in range(num_ended))
    history = history_of(trial({"x": 0.4}, [0.5], is_default=True), *ended, trial({"x": 0.6}, [0.4], "running"))
    count = ProgressCount(toy_spec(tmp_path), history)
    running = history.trials[-1]
    running.reports[2] = Report(2, 0.5, {}, None, 1.0, False)
    return num_operations(lambda: (count.take([running]), count.progress()))
