"""Tests that apply to every scheduler."""

import random
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.events import Report, Status
from raysearch.history.journal import Journal
from raysearch.schedulers import build_scheduler, rungs_of
from raysearch.search.search import Search
from raysearch.space.settings import SchedulerSettings
from raysearch.space.spec import SearchSpec
from tests.raysearch.schedulers.seen import decisions, random_reports, stops
from tests.raysearch.toy import facts, leave_journal, run_search, run_trial, toy_spec

RULES = ["asha", "hyperband", "pasha", "median"]


def spec_of(folder: Path, rule: str, **sections: Any) -> SearchSpec:
    scheduler = {"name": rule, "grace_iters": 2, "reduction_factor": 2, "max_iters": 8, "audit_fraction": 0}
    return toy_spec(folder, scheduler=scheduler, **sections)


def test_every_rule_is_under_contract() -> None:
    named = SchedulerSettings.model_fields["name"].annotation.__args__  # type: ignore[union-attr]
    assert set(named) == {*RULES, "none"}


@pytest.mark.parametrize("rule", RULES)
def test_some_are_stopped_some_run_through_and_the_default_always_does(tmp_path: Path, rule: str) -> None:
    random_search = {"algorithm": "random", "trials": 24, "seed": 3}
    spec = spec_of(tmp_path, rule, config={"x": 0.0, "n": 3}, search=random_search)
    history = run_search(spec, tmp_path / "study.journal")
    assert {"stopped", "completed"} <= {trial.status for trial in history.trials}
    default = history.trials[0]
    assert default.is_default
    assert (default.status, max(default.reports)) == ("completed", 8)
    assert all(max(trial.reports) >= 2 for trial in history.trials if trial.status == "stopped"), "not before the grace"


@pytest.mark.parametrize("rule", RULES)
def test_cutting_the_journal_anywhere_gives_the_same_search(tmp_path: Path, rule: str) -> None:
    spec = spec_of(tmp_path, rule, search={"algorithm": "random", "trials": 14, "seed": 3})
    expected = run_search(spec, tmp_path / "whole.journal")
    data = (tmp_path / "whole.journal").read_bytes()
    rng = random.Random(0)
    for cut in [0, len(data) - 1, len(data), *rng.sample(range(len(data)), 17)]:
        path = tmp_path / "cut.journal"
        leave_journal(path, data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_rebuilt_from_the_journal_decides_alike(tmp_path: Path, rule: str) -> None:
    spec = spec_of(tmp_path, rule, search={"algorithm": "random", "trials": 24, "seed": 3})
    further = [(100 + number, iteration, 0.8 + 0.1 * value) for number, iteration, value in random_reports(7)]
    run_search(spec, tmp_path / "study.journal")
    with Journal(tmp_path / "study.journal") as journal:
        rebuilt = decisions(Search(spec, journal)._scheduler, further)
    live = build_scheduler(spec)
    with Journal(tmp_path / "live.journal") as journal:
        search = Search(spec, journal)
        search._scheduler = live
        while (proposal := search.propose()) is not None:
            run_trial(search, proposal)
    assert rebuilt == decisions(live, further)
    assert rebuilt != decisions(build_scheduler(spec), further), "what was observed before matters"


@pytest.mark.parametrize("rule", RULES)
def test_minimising_mirrors_maximising(tmp_path: Path, rule: str) -> None:
    up, down = (endings(tmp_path, rule, mode) for mode in ("max", "min"))
    assert up == down
    assert {"stopped", "completed"} <= set(up)


def endings(folder: Path, rule: str, mode: str) -> list[Status]:
    """Return how trials end that report side by side; with mode min, the negatives of the scores are reported."""
    search = {"algorithm": "random", "trials": 24, "seed": 3}
    spec = spec_of(folder, rule, objective={"metric": "score", "mode": mode}, search=search)
    with Journal(folder / f"{mode}.journal") as journal:
        opened = Search(spec, journal)
        for _ in range(24):
            opened.propose()
        for number, iteration, value in random_reports(0):
            told = value if mode == "max" else -value
            opened.take(number, Report(iteration, told, {}, checkpoint=None, seconds=1.0, done=False))
        return [trial.status for trial in opened.history.trials]


@pytest.mark.parametrize("rule", RULES)
def test_a_repeated_report_changes_nothing(tmp_path: Path, rule: str) -> None:
    spec, reports = spec_of(tmp_path, rule), random_reports(3)
    expected = decisions(build_scheduler(spec), reports)
    repeating = build_scheduler(spec)
    found = []
    for number, iteration, value in reports:
        found.append(stops(repeating, number, iteration, value))
        stops(repeating, number, iteration, value + 5.0)
    assert found == expected


@pytest.mark.parametrize(
    ("rule", "rungs"), [("asha", (2, 4)), ("hyperband", (2, 4)), ("pasha", (2, 4)), ("median", ())]
)
def test_the_report_is_told_the_rungs(tmp_path: Path, rule: str, rungs: tuple[int, ...]) -> None:
    assert rungs_of(spec_of(tmp_path, rule)) == rungs
