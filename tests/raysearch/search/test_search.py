import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raysearch.history.events import Ended, Report, WorkerLost
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.history.tables import results_table, trials_table
from raysearch.schedulers import Decision
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.algorithms.test_algorithms import ALGORITHMS, spec_for
from tests.raysearch.toy import facts, leave_journal, run_search, run_trial, toy_spec


@pytest.mark.parametrize("num_cuts", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_cutting_the_journal_anywhere_gives_the_same_search(tmp_path: Path, num_cuts: int) -> None:
    spec = toy_spec(tmp_path)
    expected = run_search(spec, tmp_path / "whole.journal")
    data = (tmp_path / "whole.journal").read_bytes()
    rng = random.Random(0)
    cuts = [0, 1, len(data) - 1, len(data), *rng.sample(range(2, len(data) - 1), num_cuts - 4)]
    for cut in cuts:
        path = tmp_path / "cut.journal"
        leave_journal(path, data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"
    assert len(set(cuts)) == num_cuts


def test_dying_after_any_report_gives_the_same_search(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    spec = toy_spec(tmp_path)
    expected = run_search(spec, tmp_path / "whole.journal")
    rng = random.Random(1)
    kills = 0

    def maybe_die() -> None:
        nonlocal kills
        if rng.random() < 0.2:
            kills += 1
            raise Killed

    while True:
        try:
            history = run_search(spec, tmp_path / "killed.journal", maybe_die)
            break
        except Killed:
            continue
    assert kills > 10
    assert facts(history) == facts(expected)


def test_the_default_config_is_trial_0_and_never_stopped(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path, config={"x": 0.0, "n": 3}), tmp_path / "study.journal")
    default = history.trials[0]
    assert default.is_default
    assert default.values == {"x": 0.0, "n": 3, "kind": "a", "slope": 0.5}
    assert default.status == "completed"
    assert default.last is not None
    assert default.last.iteration == 8
    assert not any(trial.is_default for trial in history.trials[1:])


def test_a_default_outside_the_space_is_not_told_to_the_sampler(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path, config={"x": 7.0, "n": 3}), tmp_path / "study.journal")
    assert "x" not in history.trials[0].params
    assert history.trials[0].values["x"] == 7.0


def test_an_infeasible_trial_carries_the_measured_excess(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        for _ in range(3):
            assert search.propose() is not None
        memory: dict[str, Any] = {"peak_memory_bytes": 900, "needed_memory_bytes": 1500, "excess": 0.25}
        search.take(0, Ended("infeasible", "out of memory", **memory))
        search.take(1, Ended("infeasible", "score is nan"))
        search.take(2, Ended("failed", "a bug"))
    history = read_history(tmp_path / "study.journal")
    measured, unknown, failed = history.trials
    assert (measured.peak_memory_bytes, measured.needed_memory_bytes) == (900, 1500)
    assert (measured.violation, unknown.violation, failed.violation) == (0.25, 1.0, 0.0)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.load_study(study_name="toy", storage=storage)
    assert [trial.constraints for trial in study.trials] == [{"feasible": 0.25}, {"feasible": 1.0}, {}]


def test_every_started_trial_counts(tmp_path: Path) -> None:
    history = run_search(toy_spec(tmp_path), tmp_path / "study.journal")
    assert len(history.trials) == 24
    assert {trial.status for trial in history.trials} == {"completed", "stopped", "infeasible"}


@pytest.mark.parametrize(
    ("algorithm", "rule"),
    [
        *((algorithm, {"name": "asha"}) for algorithm in ALGORITHMS),
        *(("random", {"name": name}) for name in ("hyperband", "pasha", "median", "none")),
        ("random", {"name": "asha", "grace_iters": "auto"}),
    ],
)
def test_extending_a_search_is_as_if_it_had_been_longer_from_the_start(
    algorithm: str, rule: dict[str, Any], tmp_path: Path
) -> None:
    """12 trials and 12 more equal 24 trials in suggestions, decisions and tables."""
    half = 7 if algorithm == "gp" else 12
    rule = {"grace_iters": 2, "reduction_factor": 2, "max_iters": 8, **rule}
    long = run_search(spec_for(algorithm, tmp_path, trials=2 * half, scheduler=rule), tmp_path / "long.journal")
    short = spec_for(algorithm, tmp_path, trials=half, scheduler=rule)
    assert len(run_search(short, tmp_path / "short.journal").trials) == half
    with Journal(tmp_path / "short.journal") as journal:
        search = Search(short, journal)
        finished = [search.finished]
        search.extend(half)
        assert [*finished, search.finished] == [True, False]
    extended = run_search(short, tmp_path / "short.journal")
    assert len(extended.trials) == 2 * half
    assert facts(extended) == facts(long)
    assert trials_table(extended).equals(trials_table(long))
    assert results_table(extended).equals(results_table(long))


def test_an_interrupted_trial_goes_on_from_what_the_journal_knows(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        proposal = search.propose()
        assert proposal is not None
        assert proposal.restorable == ()
        for iteration in (1, 2):
            report: dict[str, Any] = {"metrics": {}, "seconds": 1.0, "done": False}
            search.take(0, Report(iteration=iteration, value=0.1 * iteration, checkpoint=f"c{iteration}", **report))
    with Journal(tmp_path / "study.journal") as journal:
        again = Search(spec, journal).propose()
    assert again is not None
    assert again.number == 0
    assert again.config == proposal.config
    assert again.restorable == ((1, 0.1, "c1"), (2, 0.2, "c2"))


def test_a_repeated_report_replaces_the_earlier_and_decides_as_before(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        for _ in range(2):
            assert search.propose() is not None
        common: dict[str, Any] = {"metrics": {}, "checkpoint": None, "seconds": 1.0, "done": False}
        search.take(0, Report(iteration=2, value=0.9, **common))
        assert search.take(1, Report(iteration=1, value=0.5, **common)) is Decision.CONTINUE
        assert search.take(1, Report(iteration=1, value=0.6, **common)) is Decision.CONTINUE
        assert search.take(1, Report(iteration=2, value=0.7, **common)) is Decision.STOP
        assert search.history.trials[1].status == "stopped"
        assert search.take(1, Report(iteration=2, value=0.7, **common)) is Decision.STOP
    trial = read_history(tmp_path / "study.journal").trials[1]
    assert [report.value for report in trial.reports.values()] == [0.6, 0.7]


def test_a_lost_worker_costs_no_trial_until_it_is_the_trials_own_doing(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        assert search.propose() is not None
        for _ in range(2):
            search.take(0, WorkerLost("killed"))
            again = search.propose()
            assert again is not None
            assert again.number == 0
        search.take(0, WorkerLost("killed by signal 9"))
        assert search.history.trials[0].status == "failed"
        assert "died 3 times" in (search.history.trials[0].error or "")
        following = search.propose()
        assert following is not None
        assert following.number == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_infeasible(tmp_path: Path, value: float) -> None:
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path), journal)
        search.propose()
        decision = search.take(
            0, Report(iteration=1, value=value, metrics={}, checkpoint=None, seconds=0.0, done=False)
        )
        assert decision is Decision.STOP
        assert search.history.trials[0].status == "infeasible"
        assert search.history.best_trial() is None


def test_ending_without_a_report_is_a_failure(tmp_path: Path) -> None:
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path), journal)
        search.propose()
        search.take(0, Ended("completed"))
        assert search.history.trials[0].status == "failed"


def test_the_winner_is_best_at_any_iteration_by_the_declared_mode(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, objective={"metric": "score", "mode": "min"}, scheduler={"name": "none", "max_iters": 8})
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        common: dict[str, Any] = {"metrics": {}, "checkpoint": None, "seconds": 1.0, "done": False}
        for number, curve in enumerate([[3.0, 1.0, 2.0], [2.5, 1.5, 1.4]]):
            search.propose()
            for iteration, value in enumerate(curve, start=1):
                search.take(number, Report(iteration=iteration, value=value, **common))
        winner = search.history.best_trial()
        assert winner is not None
        assert winner.number == 0
        best = winner.best("min")
        assert best is not None
        assert (best.iteration, best.value) == (2, 1.0)


def test_four_at_once_is_a_function_of_the_journal(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    rng = random.Random(5)
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        running: dict[int, int] = {}
        while True:
            while len(running) < 4 and (proposal := search.propose()) is not None:
                running[proposal.number] = 0
            if not running:
                break
            number = rng.choice(sorted(running))
            running[number] += 1
            value = 1 - abs(search.history.trials[number].values["x"] - 0.5) - 0.1 / running[number]
            report: dict[str, Any] = {"metrics": {}, "checkpoint": None, "seconds": 1.0, "done": False}
            if search.take(number, Report(iteration=running[number], value=value, **report)) is Decision.STOP:
                del running[number]
        expected = facts(search.history)
    assert facts(read_history(tmp_path / "study.journal")) == expected
    with Journal(tmp_path / "study.journal") as journal:
        assert facts(Search(spec, journal).history) == expected


def fail_first(folder: Path, spec: SearchSpec, numbers: Collection[int]) -> Path:
    """Return the journal of a search in which these of the first trials failed."""
    path = folder / "study.journal"
    with Journal(path) as journal:
        search = Search(spec, journal)
        for number in range(max(numbers) + 1):
            proposal = search.propose()
            assert proposal is not None
            assert proposal.number == number
            if number in numbers:
                search.take(number, Ended("failed", "no data"))
            else:
                run_trial(search, proposal)
    return path


def test_failed_trials_are_run_again_as_new_trials_with_their_values(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    path = fail_first(tmp_path, spec, (0, 2))
    with Journal(path) as journal:
        search = Search(spec, journal)
        assert search.retry_failed() == [0, 2]
        assert search.retry_failed() == [], "they wait already"
        assert search.history.target_trials == 26
    history = run_search(spec, path)
    assert len(history.trials) == 26
    for failed, retry in ((0, 3), (2, 4)):
        assert history.trials[retry].values == history.trials[failed].values
        assert history.trials[retry].params == history.trials[failed].params
        assert history.trials[retry].origin == f"retry of trial {failed}"
        assert (history.trials[failed].status, history.trials[retry].status) != ("failed", "failed")
        assert history.trials[failed].status == "failed", "what has ended stays as it is"
    assert history.failed == []
    assert [trial.number for trial in history.trials if trial.is_default] == [3]
    assert history.trials[3].status == "completed"
    assert history.trials[3].last is not None
    assert history.trials[3].last.iteration == 8, "never stopped early, as the default trial"
    rows = trials_table(history).to_pylist()
    assert [row["status"] for row in rows[:3]].count("failed") == 2
    assert rows[3]["origin"] == "retry of trial 0"


def test_a_retry_that_fails_can_be_run_again(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    path = fail_first(tmp_path, spec, (0,))
    for failed in (0, 1):
        with Journal(path) as journal:
            search = Search(spec, journal)
            assert search.retry_failed() == [failed]
            assert search.propose() is not None
            search.take(failed + 1, Ended("failed", "no data"))
    history = read_history(path)
    assert [trial.number for trial in history.failed] == [2]
    assert [trial.retry_of for trial in history.trials] == [None, 0, 1]


def test_optuna_and_a_cut_journal_agree_with_a_search_that_retries(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    path = fail_first(tmp_path, spec, (1, 2))
    with Journal(path) as journal:
        Search(spec, journal).retry_failed()
    before = path.stat().st_size
    expected = run_search(spec, path)
    study = optuna.load_study(study_name="toy", storage=JournalStorage(JournalFileBackend(str(path))))
    assert [trial.state.name for trial in study.trials[:3]] == ["COMPLETE", "FAIL", "FAIL"]
    assert [trial.params for trial in study.trials[3:5]] == [trial.params for trial in study.trials[1:3]]
    assert {trial.state.name for trial in study.trials[3:]} <= {"COMPLETE", "PRUNED"}
    data = path.read_bytes()
    for cut in random.Random(0).sample(range(before, len(data)), 30):
        leave_journal(path, data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"


def test_retries_take_no_first_points_place(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("x,n,kind,score\n0.11,5,a,0.9\n0.22,6,a,0.8\n0.33,7,a,0.7\n")
    spec = toy_spec(tmp_path, search={"trials": 8, "warm_start": ["notes.csv"]})
    path = fail_first(tmp_path, spec, (0, 1))
    with Journal(path) as journal:
        Search(spec, journal).retry_failed()
    tried = [trial.values["x"] for trial in run_search(spec, path).trials]
    assert tried[1:6] == [0.11, 0.9, 0.11, 0.22, 0.33]


def test_run_trial_is_what_the_search_asks_for(tmp_path: Path) -> None:
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path), journal)
        proposal = search.propose()
        assert proposal is not None
        run_trial(search, proposal)
        assert search.history.trials[0].status == "completed"
