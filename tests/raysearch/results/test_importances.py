"""Tests with scores whose true shares are known."""

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState, create_trial

from raysearch.history.events import Mode, Report
from raysearch.history.history import History, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.results.fanova import fanova
from raysearch.results.importances import MIN_TRIALS, Importances, idle_values, importances, write_importances
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from tests.raysearch.report.histories import history_of, trial
from tests.trainables.tiny import tiny
from trainables.config import Config
from trainables.protocol import TOOK_EFFECT
from trainables.trainer import Trainer

SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(0.001, 0.1, log=True),
    "y": FloatDistribution(0.0, 1.0),
    "gate": CategoricalDistribution([True, False]),
    "z": IntDistribution(1, 1000, log=True),
}


def draw(rng: random.Random) -> dict[str, Any]:
    values = {"x": 10 ** rng.uniform(-3, -1), "y": rng.random(), "gate": rng.random() < 0.5}
    return {**values, **({"z": round(10 ** rng.uniform(0, 3))} if values["gate"] else {})}


def history_for(
    score: Callable[[Mapping[str, Any]], float], num_trials: int = 120, noise: float = 0.02, mode: Mode = "max"
) -> History:
    rng = random.Random(0)
    drawn = [draw(rng) for _ in range(num_trials)]
    return history_of(*(trial(v, [score(v) + noise * rng.gauss(0, 1)], space=SPACE) for v in drawn), mode=mode)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the number of draws, for tests that do not depend on the intervals."""
    monkeypatch.setattr("raysearch.results.importances._NUM_DRAWS", 2)


def found_in(history: History) -> Importances:
    return importances(history, list(SPACE))


class TestFanova:
    def test_gives_the_shares_of_an_additive_function(self) -> None:
        # The variances of 2u, u and the step of u at a half are 4/12, 1/12 and 1/4, in total 8/12.
        points = np.random.default_rng(0).random((600, 4))
        values = 2 * points[:, 0] + points[:, 1] + (points[:, 2] > 0.5)
        assert fanova(points, values, num_trees=16, seed=0) == pytest.approx([1 / 2, 1 / 8, 3 / 8, 0.0], abs=0.04)

    def test_leaves_to_an_interaction_what_no_value_decides_by_itself(self) -> None:
        points = np.random.default_rng(0).random((600, 2))
        values = ((points[:, 0] > 0.5) ^ (points[:, 1] > 0.5)).astype(float)
        either = fanova(points, values, num_trees=16, seed=0)
        assert max(either) < 0.05

    def test_is_that_of_optuna(self) -> None:
        points = np.random.default_rng(0).random((40, 3))
        values = points[:, 0] + points[:, 1] * points[:, 2]
        study = optuna.create_study()
        space: dict[str, BaseDistribution] = {str(i): FloatDistribution(0.0, 1.0) for i in range(3)}
        for point, value in zip(points, values, strict=True):
            params = {str(i): float(u) for i, u in enumerate(point)}
            state = TrialState.COMPLETE
            study.add_trial(create_trial(state=state, value=float(value), params=params, distributions=space))
        theirs = FanovaImportanceEvaluator(n_trees=4, seed=3).evaluate(study)
        assert fanova(points, values, num_trees=4, seed=3) == pytest.approx([theirs[str(i)] for i in range(3)])

    def test_of_equal_values_is_nothing(self) -> None:
        assert fanova(np.random.default_rng(0).random((20, 2)), np.ones(20), num_trees=4, seed=0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_value_that_decides_is_told_from_those_that_do_nothing(mode: Mode) -> None:
    found = found_in(history_for(lambda values: math.log10(values["x"]), mode=mode))
    for method in ("fanova", "ped_anova"):
        rows = found.of(method)
        assert rows["x"].share > 0.8
        assert {path: row.verdict for path, row in rows.items()} == {
            "x": "effect",
            "y": "no effect shown",
            "gate": "no effect shown",
            "z": "no effect shown",
        }
        assert all(row.interval[0] <= row.share <= row.interval[1] for row in rows.values())
        assert rows["x"].interval[0] > 0.5 > 0.3 > max(rows[path].interval[1] for path in ("y", "gate", "z"))


def test_a_conditional_value_has_its_own_share_and_not_that_of_its_condition() -> None:
    of_gate = found_in(history_for(lambda values: float(values["gate"]))).of("fanova")
    assert (of_gate["gate"].verdict, of_gate["z"].verdict) == ("effect", "no effect shown")
    assert of_gate["gate"].share > 0.95
    # If the gate is open (half of the space), z goes from -1 to 1, uniformly in its logarithm: a variance of 1/3 there
    # and 1/6 over the whole space. Half of that is the mean over both gates, the other half is their interaction.
    of_both = found_in(history_for(lambda v: 2 * math.log10(v["z"]) / 3 - 1 if v["gate"] else 0.0, 250)).of("fanova")
    assert of_both["z"].share == pytest.approx(0.5, abs=0.1)
    assert (of_both["z"].verdict, of_both["y"].verdict) == ("effect", "no effect shown")
    assert of_both["gate"].share < 0.1


def test_trials_are_compared_where_three_quarters_of_them_are(few_draws: None) -> None:
    """The quarter that continued after early stopping has later scores, which do not count."""
    rng = random.Random(0)
    drawn = [draw(rng) for _ in range(40)]
    stopped = [trial(v, {2: rng.random(), 5: math.log10(v["x"])}, "stopped", space=SPACE) for v in drawn]
    beyond = [
        trial(v, {**{i: r.value for i, r in one.reports.items()}, **({8: v["y"]} if n < 10 else {})}, space=SPACE)
        for n, (v, one) in enumerate(zip(drawn, stopped, strict=True))
    ]
    some_early = [trial(v, {2: v["y"]}, "stopped", space=SPACE) for v in drawn[:9]]
    at_five = found_in(history_of(*stopped))
    assert (at_five.num_trials, at_five.iteration) == (40, 5)
    assert found_in(history_of(*beyond)) == at_five
    with_early = found_in(history_of(*stopped, *some_early))
    assert (with_early.num_trials, with_early.iteration) == (40, 5)
    assert with_early.rows == at_five.rows
    assert found_in(history_of(*stopped, *some_early, *some_early)).iteration == 2


def test_trials_that_cannot_win_do_not_count() -> None:
    trials = [trial({"y": n / 10}, [0.1 * n], space=SPACE) for n in range(MIN_TRIALS - 1)]
    others = [trial({"y": 0.1}, [0.9], "infeasible", space=SPACE), trial({"y": 0.1}, [], "running", space=SPACE)]
    found = found_in(history_of(*trials, *others))
    assert (found.num_trials, found.iteration, found.rows) == (MIN_TRIALS - 1, None, ())


class TestIdleValues:
    @staticmethod
    def counting(values: Mapping[str, Any], *shares: float | None) -> Any:
        """Return a trial whose reports count the effect of `y` if a share is given."""
        one = trial(values, [0.5] * len(shares), space=SPACE)
        for share, (iteration, report) in zip(shares, list(one.reports.items()), strict=True):
            metrics = {} if share is None else {f"{TOOK_EFFECT}/y": share}
            one.reports[iteration] = type(report)(iteration, 0.5, metrics, None, 1.0, False)
        return one

    @pytest.mark.parametrize(
        ("shares", "expected"),
        [
            ([(0.0, 0.0), (0.0,)], (("y", 2),)),
            ([(0.0, 0.0), (0.0, 0.25)], ()),
            ([(0.0,), (None,), ()], (("y", 1),)),
            ([(0.0, None)], ()),
            ([(None,)], ()),
            ([], ()),
        ],
    )
    def test_had_a_say_in_no_iteration_of_any_trial_that_counts_them(
        self, shares: list[tuple[float | None, ...]], expected: tuple[tuple[str, int], ...]
    ) -> None:
        history = history_of(*(self.counting({"y": 0.5}, *of_trial) for of_trial in shares))
        assert idle_values(history, ["x", "y"]) == expected

    @pytest.mark.parametrize(("low", "expected"), [(64, (("contrast.max_views", 3),)), (1, ())])
    def test_are_found_in_a_search_with_the_trainer(
        self, low: int, expected: tuple[tuple[str, int], ...], tmp_path: Path
    ) -> None:
        """A batch is two images, so there are at least two groups, and a group gets at most 32 of 64 samples."""
        fixed = {"contrast.max_samples": 64, "contrast.max_views": low, "train.max_iters": 2, "train.num_threads": 1}
        document = {
            "config": tiny(fixed).model_dump(mode="json"),
            "space": {"contrast.max_views": {"type": "int", "low": low, "high": low + 3}},
            "objective": {"metric": "miou", "mode": "max"},
            "search": {"algorithm": "random", "trials": 3},
            "scheduler": {"name": "none"},
        }
        with Journal(tmp_path / "study.journal") as journal:
            search = Search(parse_space(document, tmp_path), journal)
            while (proposal := search.propose()) is not None:
                report = Trainer(Config.model_validate(proposal.config)).run_to_report()
                iteration, value = report.pop("iteration"), report.pop("miou")
                search.take(
                    proposal.number,
                    Report(
                        iteration=iteration,
                        value=value,
                        metrics=report,
                        checkpoint=None,
                        seconds=1.0,
                        done=True,
                    ),
                )
        assert idle_values(read_history(tmp_path / "study.journal"), ["contrast.max_views"]) == expected

    def test_must_be_searched_and_in_use(self) -> None:
        assert idle_values(history_of(self.counting({"x": 0.01}, 0.0)), ["x", "y"]) == ()
        assert idle_values(history_of(self.counting({"y": 0.5}, 0.0)), ["x"]) == ()

    def test_are_called_so_whatever_their_share(self, few_draws: None) -> None:
        rng = random.Random(0)
        drawn = [rng.random() for _ in range(20)]
        trials = [trial({"y": y}, [y], metrics={f"{TOOK_EFFECT}/y": 0.0}, space=SPACE) for y in drawn]
        found = found_in(history_of(*trials))
        assert found.idle == (("y", 20),)
        assert {row.verdict for row in found.rows} == {"took no effect"}


def test_the_table_has_a_row_a_value_and_method(few_draws: None, tmp_path: Path) -> None:
    found = found_in(history_for(lambda values: values["y"], 30))
    write_importances(found, RunDir(tmp_path))
    rows = pq.read_table(RunDir(tmp_path).importance_table).to_pylist()
    assert [(row["path"], row["method"]) for row in rows] == [(row.path, row.method) for row in found.rows]
    assert len(rows) == 2 * len(SPACE)
    assert rows[0] == {
        "path": "y",
        "method": "fanova",
        "share": found.rows[0].share,
        "low": found.rows[0].interval[0],
        "high": found.rows[0].interval[1],
        "iteration": 1,
        "verdict": "effect",
    }


def test_no_table_is_written_where_nothing_was_compared(tmp_path: Path) -> None:
    write_importances(found_in(History()), RunDir(tmp_path))
    assert not RunDir(tmp_path).importance_table.exists()
