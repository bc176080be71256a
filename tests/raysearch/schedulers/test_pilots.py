"""Tests of `grace_iters: auto`, which derives the first rung from pilot trials at full budget."""

import random
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.events import Report
from raysearch.history.history import History, read_history
from raysearch.history.journal import Journal
from raysearch.schedulers import Decision, rungs_of
from raysearch.schedulers.pilots import AfterPilots, first_rung
from raysearch.schedulers.successive_halving import PromotingHalving, SuccessiveHalving
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.schedulers.seen import stops
from tests.raysearch.toy import facts, leave_journal, run_search, toy_spec

IN_ORDER = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
NEARLY = [0.2, 0.1, 0.3, 0.4, 0.6, 0.5]  # rho = 1 - 6 * 4 / 210 = .89
SHUFFLED = [0.4, 0.1, 0.6, 0.2, 0.5, 0.3]  # rho = 1 - 6 * 32 / 210 = .09


def curves(**scores: list[float]) -> list[dict[int, float]]:
    """Return the curve of every trial, given the scores of all trials at `i<iteration>`."""
    return [{int(name[1:]): column[k] for name, column in scores.items()} for k in range(6)]


def found(smallest: int = 1, **scores: list[float]) -> int:
    return first_rung(curves(**scores, i8=IN_ORDER), smallest=smallest, max_iters=8)


def test_the_first_rung_is_the_earliest_trusted_iteration() -> None:
    assert found(i2=SHUFFLED, i4=NEARLY, i6=IN_ORDER) == 4
    assert found(i2=NEARLY, i4=NEARLY, i6=IN_ORDER) == 2
    assert found(i2=NEARLY, i4=NEARLY, i6=IN_ORDER, smallest=3) == 4


def test_an_iteration_that_agrees_by_luck_is_not_trusted() -> None:
    assert found(i2=IN_ORDER, i4=SHUFFLED, i6=NEARLY) == 6


def test_nothing_is_stopped_where_no_order_foretells_the_final_one() -> None:
    assert found(i2=SHUFFLED, i4=SHUFFLED, i6=SHUFFLED) == 8
    assert found(i2=IN_ORDER, i4=IN_ORDER, i6=[0.5] * 6) == 8
    assert found() == 8


@pytest.mark.parametrize(
    ("early", "is_trusted"),
    [
        ([1, 0, 3, 2, 5, 4], True),  # rho = .83
        ([2, 1, 0, 3, 4, 5], False),  # .77
        ([5, 4, 3, 2, 1, 0, 7, 6, 9, 8, 11, 10], True),  # .73
        ([6, 5, 4, 3, 2, 1, 0, 7, 8, 9, 10, 11], False),  # .61
    ],
)
def test_six_pilots_must_agree_closely_and_more_of_them_less(early: list[int], is_trusted: bool) -> None:
    pilots = [{1: float(score), 2: float(final)} for final, score in enumerate(early)]
    assert (first_rung(pilots, smallest=1, max_iters=2) == 1) == is_trusted


def halving(first: int) -> SuccessiveHalving:
    return SuccessiveHalving(grace_iters=first, max_iters=8, reduction_factor=2)


def test_nothing_stops_until_the_pilots_are_through_and_then_all_stand_at_their_rungs() -> None:
    rule = AfterPilots(6, smallest=1, max_iters=8, build=halving)
    asleep = [(6, 2, 0.05), (6, 4, 0.05), (7, 2, 0.02)]
    for number in range(6):
        for iteration, scores in ((2, NEARLY), (4, NEARLY), (8, IN_ORDER)):
            assert rule._rule is None
            assert not stops(rule, number, iteration, scores[number])
        assert not any(stops(rule, *report) for report in asleep[number : number + 1])
    assert isinstance(rule._rule, SuccessiveHalving)
    assert rule._rule.rungs == (2, 4)
    live = halving(2)
    for number in range(6):
        for iteration, scores in ((2, NEARLY), (4, NEARLY), (8, IN_ORDER)):
            stops(live, number, iteration, scores[number])
        for report in asleep[number : number + 1]:
            stops(live, *report)
    further = [(7, 4, 0.9), (8, 2, 0.05), (9, 2, 0.55), (6, 8, 0.0)]
    assert [stops(rule, *report) for report in further] == [stops(live, *report) for report in further]
    assert stops(rule, 10, 2, 0.0)


AUTO = {"grace_iters": "auto", "reduction_factor": 2, "max_iters": 8, "audit_fraction": 0}


def auto(folder: Path, form: str = "stopping", **sections: Any) -> SearchSpec:
    scheduler = {"name": "asha", "form": form, **AUTO}
    return toy_spec(folder, scheduler=scheduler, **sections)


def test_a_search_begins_with_full_trials_and_finds_its_rungs(tmp_path: Path) -> None:
    spec = auto(tmp_path)
    path = tmp_path / "study.journal"
    history = run_search(spec, path)
    completed = [trial.number for trial in history.trials if trial.status == "completed"]
    pilots = completed[:6]
    through = [t for t in history.trials if t.number <= pilots[-1]]
    assert {t.status for t in through} == {"completed", "infeasible"}, "a pilot that diverges is replaced"
    assert any(t.status == "stopped" for t in history.trials)
    with Journal(path) as journal:
        rule = Search(spec, journal)._scheduler._rule  # type: ignore[attr-defined]
    assert isinstance(rule, SuccessiveHalving)
    # The scores of the toy trainable are in their final order from the start.
    assert rungs_of(spec, read_history(path)) == rule.rungs == (1, 2, 4)
    assert rungs_of(spec, History()) == ()


@pytest.mark.parametrize("form", ["stopping", "promotion"])
def test_cutting_the_journal_anywhere_gives_the_same_search(tmp_path: Path, form: str) -> None:
    spec = auto(tmp_path, form, search={"algorithm": "random", "trials": 14, "seed": 1})
    expected = run_search(spec, tmp_path / "whole.journal")
    assert any(trial.status == "stopped" for trial in expected.trials)
    data = (tmp_path / "whole.journal").read_bytes()
    rng = random.Random(0)
    for cut in [0, len(data) - 1, *rng.sample(range(len(data)), 12)]:
        path = tmp_path / "cut.journal"
        leave_journal(path, data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"


def test_trials_that_ran_beside_the_pilots_pause_from_their_next_report_on(tmp_path: Path) -> None:
    spec = auto(tmp_path, "promotion", search={"algorithm": "random", "trials": 8, "seed": 1})
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        for _ in range(8):
            search.propose()

        def report(number: int, iteration: int, value: float) -> Decision:
            return search.take(
                number, Report(iteration=iteration, value=value, metrics={}, checkpoint=None, seconds=1.0, done=False)
            )

        for number in (6, 7):
            assert report(number, 2, 0.0) is Decision.CONTINUE
        for number in range(6):
            assert report(number, 2, NEARLY[number]) is Decision.CONTINUE
            assert report(number, 8, IN_ORDER[number]) is Decision.STOP
        assert isinstance(search._scheduler._rule, PromotingHalving)  # type: ignore[attr-defined]
        assert report(6, 3, 0.0) is Decision.CONTINUE, "it passed the rung at 2 before there was one"
        assert report(6, 4, 0.0) is Decision.PAUSE
        assert search.propose() is None
        assert [t.status for t in search.history.trials[:6]] == ["completed"] * 6
