"""Tests with a trainable that needs 2 GiB plus 0.5 GiB per unit of x * n, twice as much for kind b."""

import itertools
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from raysearch.algorithms.predicted_memory import PredictedMemory
from raysearch.history.events import Ended, Report
from raysearch.history.history import History, TrialHistory, read_history
from raysearch.history.journal import Journal
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import facts, leave_journal

GIB = 2**30
TRAINABLE = """
from pydantic import BaseModel

class Sized:
    class Config(BaseModel):
        x: float = 0.5
        n: int = 2
        kind: str = "a"

        def memory_estimate(self):
            return self.kind, 1000.0 * self.x * self.n
"""
SPACE: dict[str, Any] = {
    "x": {"type": "float", "low": 0.1, "high": 1.0},
    "n": {"type": "int", "low": 1, "high": 40},
    "kind": {"type": "categorical", "choices": ["a", "b"]},
}


def needed_gib(config: dict[str, Any]) -> float:
    return float(2.0 + 0.5 * config["x"] * config["n"] * (2 if config["kind"] == "b" else 1))


def spec_of(folder: Path, algorithm: str = "random", trials: int = 16, **sections: Any) -> SearchSpec:
    (folder / "sized.py").write_text(TRAINABLE)
    document = {
        "trainable": "sized.py:Sized",
        "space": SPACE,
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": algorithm, "trials": trials, "seed": 0},
        "scheduler": {"name": "none"},
        **sections,
    }
    return parse_space(document, folder, "space.yaml")


def search(spec: SearchSpec, journal: Path, limit_gib: float = 8.0, measured: bool = True) -> History:
    """Return the history of trials run one by one; those beyond the limit run out of memory and report the excess."""
    with Journal(journal) as opened:
        search = Search(spec, opened)
        while (proposal := search.propose()) is not None:
            needed, limit = needed_gib(proposal.config), int(limit_gib * GIB)
            memory: dict[str, Any] = {}
            if needed > limit_gib:
                if measured:
                    memory = {"needed_memory_bytes": int(needed * GIB), "excess": needed / limit_gib - 1}
                search.take(proposal.number, Ended("infeasible", "out of memory", **memory))
                continue
            if measured:
                memory = {"peak_memory_bytes": int(needed * GIB), "memory_limit_bytes": limit}
            common: dict[str, Any] = {"metrics": {}, "checkpoint": None, "seconds": 1.0, "done": True}
            search.take(proposal.number, Report(iteration=1, value=needed, **common, **memory))
        assert search.finished
    return read_history(journal)


def lost(history: History) -> list[int]:
    return [trial.number for trial in history.trials if trial.status == "infeasible"]


def ended(estimate: float, peak: float | None, status: str = "completed", **memory: Any) -> TrialHistory:
    """Return an ended trial of kind a, with its peak in GiB."""
    trial = TrialHistory(0, {}, {}, {}, 0.0, is_default=False, memory_estimate=("a", estimate))
    trial.status = status  # type: ignore[assignment]
    trial.peak_memory_bytes = None if peak is None else int(peak * GIB)
    for name, value in memory.items():
        setattr(trial, name, value)
    return trial


def predicted(spec: SearchSpec, *trials: TrialHistory) -> PredictedMemory:
    history = History()
    for number, trial in enumerate(trials):
        trial.number = number
        history.add(trial)
    return PredictedMemory(spec, history)


def config_with(estimate: float, kind: str = "a") -> dict[str, Any]:
    return {"x": estimate / 1000.0, "n": 1, "kind": kind}


def test_a_first_point_that_will_not_fit_makes_room_for_a_proposal(tmp_path: Path) -> None:
    """The first row needs 20 of 8 GiB. The second needs 22 and is therefore not started. The third needs 2."""
    (tmp_path / "notes.csv").write_text("x,n,kind,score\n0.9,40,a,3\n1.0,40,a,2\n0.1,1,a,1\n")
    settings = {"algorithm": "random", "trials": 4, "seed": 0, "warm_start": "notes.csv"}
    history = search(spec_of(tmp_path, search=settings), tmp_path / "study.journal")
    assert [trial.origin for trial in history.trials] == [
        "default config",
        "first point: notes.csv row 2 (score 3)",
        None,
        "first point: notes.csv row 4 (score 1)",
    ]
    assert 1 in lost(history)


def test_the_line_through_the_peaks_says_what_fits(tmp_path: Path) -> None:
    """Peaks are 1 + estimate / 1000 GiB with one outlier, so 3 GiB are reached at 2000."""
    spec = spec_of(tmp_path, resources={"memory_gb": 3})
    points = [ended(e, 1 + e / 1000) for e in (100.0, 200.0, 400.0, 800.0, 900.0)] + [ended(500.0, 2.9)]
    memory = predicted(spec, *points)
    assert memory.fits(config_with(1999.0))
    assert not memory.fits(config_with(2001.0))
    assert memory.fits(config_with(2001.0, kind="b")), "nothing is known of kind b"


def test_twice_the_median_distance_from_the_line_is_forgiven(tmp_path: Path) -> None:
    """Peaks are estimate / 1000 GiB plus or minus 0.1 GiB, so estimates up to 3.2 GiB may be started."""
    spec = spec_of(tmp_path, resources={"memory_gb": 3})
    points = [ended(100.0 * i, 0.1 * i + off) for i in range(2, 6) for off in (0.1, -0.1)]
    memory = predicted(spec, *points)
    assert memory.fits(config_with(3150.0))
    assert not memory.fits(config_with(3250.0))


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [ended(100.0, 1.0), ended(200.0, 2.0)],
        [ended(100.0, 1.0)] * 5,
        [ended(100.0, 1.0), ended(200.0, 2.0), ended(300.0, 3.0, "running"), ended(300.0, 3.0, "failed")],
        [ended(100.0, 1.0), ended(200.0, 2.0), ended(300.0, 9.0, "infeasible")],  # the trial diverged
    ],
)
def test_without_three_peaks_at_two_estimates_nothing_is_predicted(tmp_path: Path, trials: list[TrialHistory]) -> None:
    assert predicted(spec_of(tmp_path, resources={"memory_gb": 3}), *trials).fits(config_with(1e9))


def test_no_larger_estimate_fits_than_one_that_ran_out_unless_a_larger_one_did(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    short = ended(500.0, None, "infeasible", needed_memory_bytes=0)
    memory = predicted(spec, short)
    assert [memory.fits(config_with(e)) for e in (499.0, 500.0, 501.0)] == [True, False, False]
    assert memory.fits(config_with(501.0, kind="b"))
    larger = ended(800.0, None, "infeasible", needed_memory_bytes=0)
    memory = predicted(spec, short, larger, ended(600.0, 1.0))
    assert [memory.fits(config_with(e)) for e in (501.0, 799.0, 800.0)] == [True, True, False]


def test_a_trial_that_ran_out_says_nothing_of_others_where_the_line_is_sure_that_they_fit(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, resources={"memory_gb": 3})
    line = [ended(100.0 * i, 0.1 * i) for i in range(1, 5)]
    neighbours_fault = ended(1000.0, None, "infeasible", needed_memory_bytes=0)
    memory = predicted(spec, *line, neighbours_fault)
    assert [memory.fits(config_with(e)) for e in (1500.0, 2999.0, 3001.0)] == [True, True, False]


def test_what_a_trial_lacked_counts_where_the_line_says_less(tmp_path: Path) -> None:
    """Peaks grow by 1 GiB per unit up to 3; trials need at least 20 at 10 and 22 at 11, which makes 2 GiB per unit."""
    spec = spec_of(tmp_path, resources={"memory_gb": 10})
    peaks = [ended(float(i), float(i)) for i in (1, 2, 3)]
    assert predicted(spec, *peaks).fits(config_with(9.0))
    short = [ended(e, None, "infeasible", needed_memory_bytes=n * GIB) for e, n in ((10.0, 20), (11.0, 22))]
    assert not predicted(spec, *peaks, *short).fits(config_with(9.0))


def test_the_limit_is_given_or_the_least_that_was_found_where_trials_ran(tmp_path: Path) -> None:
    trials = [ended(100.0 * i, 1.0 * i, memory_limit_bytes=limit * GIB) for i, limit in ((1, 9), (2, 7), (3, 9))]
    assert predicted(spec_of(tmp_path), *trials).limit_bytes == 7 * GIB
    assert predicted(spec_of(tmp_path, resources={"memory_gb": 1.5}), *trials).limit_bytes == 1.5 * GIB
    trials.append(ended(800.0, 8.0, memory_limit_bytes=7 * GIB))
    assert predicted(spec_of(tmp_path), *trials).limit_bytes == 8 * GIB, "that much fitted"
    assert predicted(spec_of(tmp_path), ended(1.0, 1.0)).limit_bytes is None


@pytest.mark.parametrize("algorithm", ["tpe", "random", "qmc", "cmaes"])
def test_no_trial_that_would_not_fit_is_started_once_the_scale_is_known(algorithm: str, tmp_path: Path) -> None:
    """Two thirds of the space do not fit, and the neighbours are ignored."""
    spec = spec_of(tmp_path, algorithm)
    with mock.patch("raysearch.algorithms.Feasibility.doubt", return_value=-1.0):
        history = search(spec, tmp_path / "journal")
    assert len(history.trials) == 16, "what is drawn again is no trial"
    for kind in ("a", "b"):
        of_kind = [trial for trial in history.trials if trial.values["kind"] == kind]
        fitted = [trial.number for trial in of_kind if trial.status == "completed"]
        known = fitted[2] if len(fitted) > 2 else 16
        assert [t.number for t in of_kind if t.status == "infeasible" and t.number > known] == []
    assert len(lost(history)) <= 6


def test_at_the_edge_of_memory_every_algorithm_goes_on_with_what_it_has_learnt(tmp_path: Path) -> None:
    """More memory gives a better score, so the best configs need the whole limit; algorithms propose different ones."""
    late = {}
    for algorithm in ("tpe", "curve_gp", "cmaes"):
        spec = spec_of(tmp_path, algorithm, trials=24, resources={"memory_gb": 8})
        history = search(spec, tmp_path / f"{algorithm}.journal")
        late[algorithm] = [trial.values for trial in history.trials[12:]]
        needed = sorted(needed_gib(values) for values in late[algorithm])
        assert needed[len(needed) // 2] > 5.5, "half of the proposals are beside the edge"
        assert history.best_trial() is not None
    for first, second in itertools.combinations(late.values(), 2):
        assert not any(values in second for values in first)


def test_a_resumed_search_predicts_the_same(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, trials=12)
    expected = search(spec, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for part in (0.3, 0.7):
        leave_journal(tmp_path / "cut", data[: int(part * len(data))])
        assert facts(search(spec, tmp_path / "cut")) == facts(expected)


def test_a_grid_leaves_out_what_is_predicted_not_to_fit_and_ends(tmp_path: Path) -> None:
    space = {"n": SPACE["n"]}
    spec = spec_of(tmp_path, "grid", space=space, config={"x": 1.0}, resources={"memory_gb": 8.2})
    history = search(spec, tmp_path / "journal")
    assert [trial.values["n"] for trial in history.trials] == [2, 1, *range(3, 13)]
    assert lost(history) == []


def test_a_search_ends_where_nothing_more_is_predicted_to_fit(tmp_path: Path) -> None:
    """The whole space needs more than the 1 GiB of the space file; there is no other limit, so the first trials fit."""
    spec = spec_of(tmp_path, "tpe", resources={"memory_gb": 1}, space={"n": SPACE["n"]})
    history = search(spec, tmp_path / "journal", limit_gib=100.0)
    assert len(history.trials) == 3


def test_the_search_waits_for_what_is_running_before_it_ends(tmp_path: Path) -> None:
    """A peak that raises the limit lets a search continue that had nothing left to start."""
    spec = spec_of(tmp_path, space={"n": {"type": "int", "low": 1, "high": 5}}, config={"x": 1.0})
    common: dict[str, Any] = {"metrics": {}, "checkpoint": None, "seconds": 1.0, "done": True}
    with Journal(tmp_path / "journal") as journal:
        search = Search(spec, journal)
        proposals = [search.propose() for _ in range(4)]
        for proposal in proposals[:3]:
            assert proposal is not None
            peak = int(GIB * (10 + proposal.config["n"]))
            memory: dict[str, Any] = {"peak_memory_bytes": peak, "memory_limit_bytes": 11 * GIB}
            search.take(proposal.number, Report(iteration=1, value=0.0, **common, **memory))
        with mock.patch("raysearch.algorithms.PredictedMemory.fits", return_value=False):
            assert search.propose() is None
            assert not search.finished, "one is running"
        search.take(
            3, Report(iteration=1, value=0.0, **common, peak_memory_bytes=20 * GIB, memory_limit_bytes=11 * GIB)
        )
        assert search.propose() is not None


def test_the_estimate_of_every_trial_is_in_the_journal(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, trials=3)
    history = search(spec, tmp_path / "journal")
    expected = [(t.values["kind"], 1000.0 * t.values["x"] * t.values["n"]) for t in history.trials]
    assert [trial.memory_estimate for trial in history.trials] == expected
    assert history.trials[0].is_default
    assert expected[0] == ("a", 1000.0)
