"""Tests of successive halving: its rungs, and promotion, where trials pause at rungs and go on from there."""

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from raysearch.algorithms.optuna_samplers import _as_tpe_learns as as_tpe_learns
from raysearch.algorithms.optuna_samplers import _study
from raysearch.history.events import Ended, Report
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.schedulers import Decision
from raysearch.schedulers.successive_halving import PromotingHalving, SuccessiveHalving, rung_iterations
from raysearch.search.search import Proposal, Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.schedulers.seen import stops
from tests.raysearch.toy import PROMOTION, facts, leave_journal, run_search, run_trial, toy_spec


@pytest.mark.parametrize(
    ("grace", "full", "factor", "rungs"),
    [(1, 27, 3, (1, 3, 9)), (100, 600, 2, (100, 200, 400)), (500, 500, 3, ()), (2, 9, 2, (2, 4, 8))],
)
def test_rungs_are_powers_of_the_factor_below_the_budget(
    grace: int, full: int, factor: int, rungs: tuple[int, ...]
) -> None:
    assert rung_iterations(grace, full, factor) == rungs


def halving() -> SuccessiveHalving:
    return SuccessiveHalving(grace_iters=2, max_iters=16, reduction_factor=2)


def test_a_rung_lets_the_best_half_on() -> None:
    rule = halving()
    decisions = [stops(rule, number, 2, value) for number, value in enumerate([0.5, 0.4, 0.6, 0.55, 0.3])]
    # Of 1: best 1. Of 2: best 1. Of 3: best 1. Of 4: best 2 (0.6, 0.55). Of 5: best 2.
    assert decisions == [False, True, False, False, True]


def test_nothing_stops_between_rungs_or_at_the_end() -> None:
    rule = halving()
    stops(rule, 0, 2, 0.9)
    assert not stops(rule, 1, 1, 0.0)
    assert not stops(rule, 0, 3, 0.0)
    assert not stops(rule, 0, 16, 0.0)


def test_a_report_beyond_two_rungs_enters_both() -> None:
    rule = halving()
    for iteration in (2, 4):
        stops(rule, 0, iteration, 0.9)
    assert stops(rule, 1, 5, 0.1)
    assert not stops(rule, 2, 5, 0.95)
    assert not stops(rule, 3, 2, 0.94), "0.94 is second of four at the first rung"


def test_a_repeated_report_changes_nothing() -> None:
    rule = halving()
    stops(rule, 0, 2, 0.5)
    stops(rule, 0, 2, 0.1)
    assert stops(rule, 1, 2, 0.4), "0.5 still stands at the rung"


def test_ties_go_on_together() -> None:
    rule = halving()
    assert not any(stops(rule, number, 2, 0.5) for number in range(4))


# Promotion


def promoting(**settings: object) -> PromotingHalving:
    return PromotingHalving(grace_iters=2, max_iters=16, reduction_factor=2, **settings)  # type: ignore[arg-type]


def test_a_trial_pauses_at_every_rung_once() -> None:
    rule = promoting()
    assert [stops(rule, 0, iteration, 0.5) for iteration in (1, 2, 2, 3, 4, 5, 8, 16)] == [
        False, True, False, False, True, False, True, False,
    ]  # fmt: skip


def test_the_best_half_of_a_rung_is_promoted_best_first() -> None:
    rule = promoting()
    stops(rule, 0, 2, 0.5)
    assert rule.promotable([0]) is None, "half of one is none"
    stops(rule, 1, 2, 0.4)
    assert rule.promotable([0, 1]) == 0
    assert rule.promotable([1]) is None, "0 is running"
    stops(rule, 2, 2, 0.6)
    stops(rule, 3, 2, 0.7)
    assert rule.promotable([1, 2, 3]) == 3
    assert rule.promotable([1, 2]) == 2
    assert rule.promotable([1]) is None, "of four, 0.7 and 0.6 go on; 0 went on when it was the best"


def test_the_highest_rung_comes_first() -> None:
    rule = promoting()
    for number, value in enumerate([0.5, 0.4, 0.6, 0.7]):
        stops(rule, number, 2, value)
    stops(rule, 0, 4, 0.9)
    assert rule.promotable([0, 1, 2, 3]) == 3, "the second rung has one trial alone"
    stops(rule, 3, 4, 0.8)
    assert rule.promotable([0, 1, 2, 3]) == 0
    assert rule.promotable([1, 2, 3]) == 2, "3 waits in the second rung; in the first it has been let on"


def test_a_small_rung_lets_its_best_on_when_asked_to() -> None:
    rule = promoting()
    stops(rule, 0, 2, 0.5)
    assert rule.promotable([0], at_least=1) == 0
    stops(rule, 1, 2, 0.6)
    assert rule.promotable([0], at_least=1) is None, "the best has gone on"


def test_slack_promotes_who_is_close_after_the_best() -> None:
    rule = promoting(slack=0.1)
    for number, value in enumerate([0.5, 0.4, 0.45]):
        stops(rule, number, 2, value)
    assert rule.promotable([0, 1, 2]) == 0
    assert rule.promotable([1, 2]) == 2
    stops(rule, 3, 2, 0.6)
    assert rule.promotable([1, 2]) == 2
    assert rule.promotable([1]) == 1, "0.1 behind the second of four"
    stops(rule, 4, 2, 0.61)
    assert rule.promotable([1]) is None


COMMON: dict[str, Any] = {"metrics": {}, "seconds": 1.0, "done": False}


def promotion(folder: Path, **sections: Any) -> SearchSpec:
    return toy_spec(folder, **{"scheduler": PROMOTION, **sections})


def proposed(search: Search) -> Proposal:
    proposal = search.propose()
    assert proposal is not None
    return proposal


def report(search: Search, number: int, iteration: int, value: float) -> Decision:
    return search.take(number, Report(iteration=iteration, value=value, checkpoint=f"c{iteration}", **COMMON))


def test_a_trial_pauses_is_let_on_and_ends_as_stopped(tmp_path: Path) -> None:
    spec = promotion(tmp_path, search={"algorithm": "random", "trials": 5, "seed": 3})
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        assert [proposed(search).number for _ in range(5)] == list(range(5))
        assert report(search, 0, 2, 0.0) is Decision.CONTINUE, "the default never pauses"
        assert report(search, 1, 1, 0.5) is Decision.CONTINUE
        assert report(search, 1, 2, 0.5) is Decision.CONTINUE, "the better of two: it would be let on at once"
        assert report(search, 2, 2, 0.4) is Decision.PAUSE
        assert (search.history.trials[2].status, search.history.trials[2].effective_status) == ("running", "stopped")
        assert search.propose() is None, "of three, one goes on, and has"
        assert report(search, 3, 2, 0.3) is Decision.PAUSE
        again = proposed(search)
        assert (again.number, again.restorable) == (2, ((2, 0.4, "c2"),))
        assert search.history.trials[2].effective_status == "running"
        assert report(search, 2, 4, 0.4) is Decision.PAUSE, "alone at the next rung"
        assert report(search, 1, 4, 0.5) is Decision.CONTINUE
        assert report(search, 1, 8, 0.5) is Decision.STOP
        assert report(search, 0, 4, 0.0) is Decision.CONTINUE
        assert report(search, 0, 8, 0.0) is Decision.STOP
        assert search.propose() is None, "trial 4 may still change what is let on"
        finished = [search.finished]
        search.take(4, Ended("failed", "a bug"))
        assert search.propose() is None
        assert [*finished, search.finished] == [False, True]
        assert [t.status for t in search.history.trials] == ["completed", "completed", "stopped", "stopped", "failed"]
        assert [t.end_order for t in search.history.trials] == [3, 2, 0, 1, 4], "2 and 3 by when they first paused"


def test_at_the_end_the_best_of_every_rung_goes_on(tmp_path: Path) -> None:
    settings = {**PROMOTION, "reduction_factor": 3, "max_iters": 12}
    spec = toy_spec(tmp_path, scheduler=settings, search={"algorithm": "random", "trials": 3, "seed": 3})
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        for _ in range(3):
            proposed(search)
        assert report(search, 0, 12, 0.0) is Decision.STOP
        assert report(search, 1, 2, 0.5) is Decision.PAUSE
        assert report(search, 2, 2, 0.6) is Decision.CONTINUE, "one of three"
        assert report(search, 2, 6, 0.6) is Decision.PAUSE, "none of two"
        assert proposed(search).number == 2, "but nothing else is left to do"
        assert report(search, 2, 12, 0.6) is Decision.STOP
        assert search.propose() is None
        assert [t.status for t in search.history.trials] == ["completed", "stopped", "completed"]


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_cutting_the_journal_anywhere_gives_the_same_search(tmp_path: Path, algorithm: str) -> None:
    spec = promotion(tmp_path, search={"algorithm": algorithm, "trials": 14, "seed": 1})
    expected = run_search(spec, tmp_path / "whole.journal")
    data = (tmp_path / "whole.journal").read_bytes()
    assert data.count(b'"paused":false') >= 2, "some were taken up again"
    rng = random.Random(0)
    ends_of_lines = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for cut in [0, len(data) - 1, *rng.sample(range(len(data)), 8), *rng.sample(ends_of_lines, 8)]:
        path = tmp_path / "cut.journal"
        leave_journal(path, data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"


def test_rungs_are_restored_from_the_journal(tmp_path: Path) -> None:
    spec = promotion(tmp_path, search={"algorithm": "random", "trials": 14, "seed": 1})
    with Journal(tmp_path / "study.journal") as journal:
        live = Search(spec, journal)
        while (proposal := live.propose()) is not None:
            run_trial(live, proposal)
        assert rungs_in(Search(spec, journal)) == rungs_in(live)
        assert [len(losses) for losses in rungs_in(live)] == [14, 7]


def rungs_in(search: Search) -> list[dict[int, float]]:
    assert isinstance(search._scheduler, PromotingHalving)
    return [rung.losses for rung in search._scheduler._rungs.values()]


def test_four_at_once_is_a_function_of_the_journal(tmp_path: Path) -> None:
    spec = promotion(tmp_path, search={"algorithm": "random", "trials": 20, "seed": 3})
    rng = random.Random(5)
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        search = Search(spec, journal)
        running: set[int] = set()
        while True:
            while len(running) < 4 and (proposal := search.propose()) is not None:
                assert proposal.number not in running
                running.add(proposal.number)
            if not running:
                break
            number = rng.choice(sorted(running))
            trial = search.history.trials[number]
            iteration = max(trial.reports, default=0) + 1
            value = 1 - abs(trial.values["x"] - 0.5) - 0.1 / iteration
            if report(search, number, iteration, value) is not Decision.CONTINUE:
                running.remove(number)
            if rng.random() < 0.2:  # killed and opened again, without its four workers
                again = Search(spec, journal)
                assert facts(again.history) == facts(search.history)
                search, running = again, set()
        assert search.finished
        expected = facts(search.history)
    assert facts(read_history(path)) == expected
    statuses = [trial.status for trial in search.history.trials]
    assert set(statuses) == {"completed", "stopped"}
    for rung, next_rung in ((2, 4), (4, 8)):
        reached = [t for t in search.history.trials if rung in t.reports]
        let_on = {t.number for t in reached if next_rung in t.reports} - {0}
        best = sorted(reached, key=lambda t: -t.reports[rung].value)[: max(1, len(reached) // 2)]
        assert {t.number for t in best} - {0} <= let_on, "whoever is among the best in the end has gone on"


def test_audited_trials_never_pause(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, scheduler={**PROMOTION, "audit_fraction": 0.5})
    history = run_search(spec, tmp_path / "study.journal")
    audited = [trial for trial in history.trials if trial.is_audited]
    assert len(audited) > 5
    assert {trial.status for trial in audited} <= {"completed", "infeasible"}
    text = (tmp_path / "study.journal").read_text()
    assert not any(f'"trial_id":{trial.number},"user_attr":{{"paused"' in text for trial in audited)


def test_a_paused_trial_is_told_as_a_stopped_one(tmp_path: Path) -> None:
    spec = promotion(tmp_path)
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        for _ in range(3):
            proposed(search)
        report(search, 0, 2, 0.3)
        report(search, 1, 2, 0.5)
        assert report(search, 2, 2, 0.4) is Decision.PAUSE
        study = _study(search.history, optuna.samplers.RandomSampler(), 0, as_tpe_learns)
    states = [trial.state.name for trial in study.trials]
    assert states == ["RUNNING", "RUNNING", "PRUNED"]
    assert study.trials[2].intermediate_values == {2: 0.4}


def test_optuna_opens_the_journal_of_a_search_with_pauses(tmp_path: Path) -> None:
    spec = promotion(tmp_path, search={"algorithm": "random", "trials": 8, "seed": 3})
    run_search(spec, tmp_path / "study.journal")
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    (study,) = optuna.get_all_study_summaries(storage)
    assert study.n_trials == 8
    trials = optuna.load_study(study_name=study.study_name, storage=storage).trials
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}
