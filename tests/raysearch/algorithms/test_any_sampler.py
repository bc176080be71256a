"""Tests of samplers of Optuna and of the user's own that a space file names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from raysearch.errors import InputError
from raysearch.history.journal import Journal
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import SCORE_AND_COST, facts, run_search, run_trial, toy_spec

MINE = """
from optuna.samplers import BaseSampler, RandomSampler

class Halving(BaseSampler):
    "Halves the best x so far; the rest is drawn at random."

    def __init__(self, factor, seed=None):
        self.factor, self._random = factor, RandomSampler(seed=seed)

    def infer_relative_search_space(self, study, trial):
        return {"x": study.trials[0].distributions["x"]} if len(study.trials) > 1 else {}

    def sample_relative(self, study, trial, search_space):
        ended = [t for t in study.get_trials(deepcopy=False) if t.value is not None]
        if not ended:
            return {}
        return {name: max(ended, key=lambda t: t.value).params[name] * self.factor for name in search_space}

    def sample_independent(self, study, trial, name, distribution):
        return self._random.sample_independent(study, trial, name, distribution)

class NoSampler:
    pass
"""

QMC = {"algorithm": "optuna.samplers.QMCSampler", "algorithm_args": {"scramble": True, "seed": 5}}
OWN = {"algorithm": "mine.py:Halving", "algorithm_args": {"factor": 0.5}}
NSGA2 = {"algorithm": "optuna.samplers:NSGAIISampler", "algorithm_args": {"population_size": 4}}
UNIT = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "slope")}


def spec_by(folder: Path, search: dict[str, Any], trials: int = 12, **sections: Any) -> SearchSpec:
    (folder / "mine.py").write_text(MINE)
    return toy_spec(folder, search={"trials": trials, "seed": 3, **search}, **sections)


@pytest.mark.parametrize("search", [QMC, OWN, NSGA2])
def test_a_search_that_goes_on_is_the_search_that_was_longer_from_the_start(
    search: dict[str, Any], tmp_path: Path
) -> None:
    """The journal also holds the notes of samplers, so N trials and N more equal 2 N trials."""
    run_search(spec_by(tmp_path, search, trials=7), tmp_path / "a")
    with Journal(tmp_path / "a") as journal:
        resumed = Search(spec_by(tmp_path, search, trials=7), journal)
        resumed.extend(7)
        while (proposal := resumed.propose()) is not None:
            run_trial(resumed, proposal)
    whole = run_search(spec_by(tmp_path, search, trials=14), tmp_path / "b")
    assert facts(resumed.history) == facts(whole)
    assert len(whole.trials) == 14


def test_points_of_a_sequence_follow_one_another(tmp_path: Path) -> None:
    """Trial 0 is the default, and the sequence starts right after it; redraws alone would not reach its last points."""
    history = run_search(spec_by(tmp_path, QMC, trials=33, space=UNIT), tmp_path / "journal")
    tried = [[trial.values["x"], trial.values["slope"]] for trial in history.trials[1:]]
    np.testing.assert_allclose(tried, qmc.Sobol(2, seed=5).random(32), atol=1e-12)


def test_a_genetic_algorithm_counts_its_generations(tmp_path: Path) -> None:
    spec = spec_by(tmp_path, NSGA2, trials=14, objective=SCORE_AND_COST, scheduler={"name": "none", "max_iters": 8})
    history = run_search(spec, tmp_path / "journal")
    generations = [value for t in history.trials for key, value in t.sampler_notes.items() if "generation" in key]
    assert sorted(set(generations)) == [0, 1, 2]


def test_a_seed_is_given_where_a_sampler_takes_one(tmp_path: Path) -> None:
    one, same, other = (
        [trial.values for trial in run_search(spec_by(tmp_path, {**OWN, "seed": seed}), tmp_path / name).trials]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == same
    assert one[1:] != other[1:]
    assert len({trial["n"] for trial in one}) > 5


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"algorithm": "optuna.samplers.QMCSample"}, "the module has no QMCSample; did you mean QMCSampler?"),
        ({"algorithm": "optuna.sampler.QMCSampler"}, "cannot be imported: ModuleNotFoundError"),
        ({"algorithm": "nowhere.py:Mine"}, "there is no file"),
        ({"algorithm": "mine.py:NoSampler"}, "NoSampler is not a subclass of optuna.samplers.BaseSampler"),
        ({"algorithm": "mine.py:Halvin"}, "the module has no Halvin; did you mean Halving?"),
        ({"algorithm": "mine.py:Halving"}, "search.algorithm_args: Halving needs factor"),
        (
            {**OWN, "algorithm_args": {"factr": 1, "factor": 2}},
            "search.algorithm_args.factr: is not an argument of Halving",
        ),
        ({**QMC, "algorithm_args": {"qmc_type": "x"}}, "QMCSampler does not accept them: ValueError"),
        ({"algorithm": "optuna.samplers.CmaEsSampler"}, "use cmaes, which computes its state from the trials"),
        ({"algorithm": "tpe", "algorithm_args": {"seed": 1}}, "search.algorithm_args: tpe takes no arguments"),
        ({"algorithm": "QMCSampler"}, "or the name of a sampler, such as optuna.samplers.QMCSampler"),
    ],
)
def test_wrong_samplers(search: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        spec_by(tmp_path, search)
    (fault,) = caught.value.faults
    assert expected in str(fault)


def test_the_space_file_as_run_names_the_file_from_anywhere(tmp_path: Path) -> None:
    assert spec_by(tmp_path, OWN).document["search"]["algorithm"] == f"{tmp_path / 'mine.py'}:Halving"


def test_a_sampler_that_fails_is_told_in_one_message(tmp_path: Path) -> None:
    spec = spec_by(tmp_path, {**OWN, "algorithm_args": {"factor": "a"}})
    with pytest.raises(InputError, match="Halving failed to propose trial 1: TypeError"):
        run_search(spec, tmp_path / "journal")
