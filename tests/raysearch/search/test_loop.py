"""Tests of the loop that every executor runs, in virtual time."""

from pathlib import Path

import pytest

from raysearch.history.events import Ended, Report
from raysearch.history.journal import Journal, MemoryRecord
from raysearch.schedulers import Decision
from raysearch.search.loop import SearchHalted
from raysearch.search.search import MAX_WORKERS_LOST, Search
from raysearch.search.simulated import Leg, SimulatedExecutor
from raysearch.search.work import Assignment
from tests.raysearch.toy import ToyWorld, facts, run_search, toy_loop, toy_spec


class Uneven:
    """Trials with two reports; a report takes 3 s in trials with even numbers and 1 s in the others."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, float]] = []
        self._reached: dict[int, int] = {}

    def begin(self, assignment: Assignment, now: float) -> Leg:
        self.begun.append((assignment.number, now))
        return self.go_on(assignment.number, now)

    def go_on(self, number: int, now: float) -> Leg:
        self._reached[number] = iteration = self._reached.get(number, 0) + 1
        report = Report(iteration, 0.5, {}, None, 1.0, done=iteration == 2)
        return Leg(now + (3.0 if number % 2 == 0 else 1.0), report)


def test_a_worker_that_is_free_starts_the_next_trial(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, search={"trials": 4, "algorithm": "random"}, scheduler={"name": "none", "max_iters": 8})
    world = Uneven()
    executor = SimulatedExecutor(world, num_workers=2)
    loop = toy_loop(Search(spec, MemoryRecord()))
    executor.run(loop)
    # Trial 1 ends at 2 s and makes room for trial 2; trial 0 ends at 6 s and makes room for trial 3.
    assert world.begun == [(0, 0.0), (1, 0.0), (2, 2.0), (3, 6.0)]
    assert executor.now == 8.0
    assert loop.finished


def test_a_record_in_memory_gives_the_search_of_a_journal(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)
    on_file = run_search(spec, tmp_path / "study.journal")
    search = Search(spec, MemoryRecord())
    SimulatedExecutor(ToyWorld(), num_workers=1).run(toy_loop(search))
    assert facts(search.history) == facts(on_file)


class Broken:
    """A world in which every trial fails with the same error."""

    def begin(self, assignment: Assignment, now: float) -> Leg:
        return Leg(now + 1.0, Ended("failed", "KeyError: 'a bug'"))

    def go_on(self, number: int, now: float) -> Leg:
        raise AssertionError("a trial that failed does not go on")


def test_failures_alike_halt_whatever_the_executor(tmp_path: Path) -> None:
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(toy_spec(tmp_path), journal)
        with pytest.raises(SearchHalted, match="5 trials in a row failed with the same error"):
            SimulatedExecutor(Broken(), num_workers=1).run(toy_loop(search))
    assert [trial.status for trial in search.history.trials] == ["failed"] * 4 + ["running"], "it goes on later"


def test_a_trial_whose_worker_is_lost_is_assigned_again_a_few_times(tmp_path: Path) -> None:
    search = Search(toy_spec(tmp_path), MemoryRecord())
    loop = toy_loop(search)
    for _ in range(MAX_WORKERS_LOST):
        assignment = loop.next()
        assert assignment is not None
        assert assignment.number == 0
        loop.lost(0, "the worker died")
    assert search.history.trials[0].status == "failed"
    assert search.history.trials[0].error == "its worker died 3 times; the last time: the worker died"


def test_a_machine_low_on_memory_makes_the_trial_infeasible(tmp_path: Path) -> None:
    search = Search(toy_spec(tmp_path), MemoryRecord())
    loop = toy_loop(search)
    loop.next()
    report = Report(1, 0.5, {}, None, 1.0, done=False, peak_memory_bytes=1000)
    assert loop.take(0, report) is Decision.CONTINUE
    loop.lost(0, "the machine ran low", out_of_memory=True)
    trial = search.history.trials[0]
    assert (trial.status, trial.needed_memory_bytes) == ("infeasible", 1000)
