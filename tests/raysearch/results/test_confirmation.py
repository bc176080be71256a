import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raysearch.history.events import Mode
from raysearch.history.history import History
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_table
from raysearch.results.confirmation import (
    Confirmation,
    ConfirmedTrial,
    Difference,
    confirmed_entry,
    lead_lines,
    read_confirmation,
    tukey_half_width,
    verdict,
    winning_trial,
    write_confirmed,
)
from tests.raysearch.report.histories import history_of, trial

DEFAULT, OTHER = {"optim.lr": 0.01}, {"optim.lr": 0.05}


def history(mode: Mode = "max") -> History:
    """Return a search whose best trial is trial 2."""
    return history_of(
        trial(DEFAULT, [0.4], is_default=True), trial(OTHER, [0.5]), trial(OTHER, [0.9]), trial(OTHER, [0.1]), mode=mode
    )


def confirmation_of(folder: Path, scores: dict[int, list[float | None]], mode: Mode = "max") -> Confirmation | None:
    rows = [
        {"trial": number, "seed": seed, "value": value, "iteration": 10, "split": "val", "val_value": value}
        for number, values in scores.items()
        for seed, value in enumerate(values, start=1)
    ]
    write_confirmed(rows, 2, RunDir(folder))
    return read_confirmation(RunDir(folder), history(mode))


def confirmed(number: int, *values: float) -> ConfirmedTrial:
    return ConfirmedTrial(number, 10, values, values)


def lead(*trials: ConfirmedTrial) -> Difference:
    """Return the difference between the first two of some confirmed trials."""
    seeds = tuple(range(1, 1 + len(trials[0].values)))
    difference = Confirmation("max", "val", len(trials), seeds, trials, (), None).lead_over(trials[1])
    assert difference is not None
    return difference


def test_a_better_mean_that_broke_a_constraint_is_told() -> None:
    trials = (confirmed(2, 0.4, 0.5), confirmed(0, 0.6, 0.7), confirmed(1, 0.3, 0.4))
    broken = {0: ("iou.tuber >= 0.15", "loss <= 1"), 1: ("loss <= 1",)}
    confirmation = Confirmation("max", "val", 2, (1, 2), trials, (), 0, broken)
    told = (
        "trial 0 (default) has a better mean, 0.6500 compared with 0.4500, but broke a constraint in the search: "
        "iou.tuber >= 0.15; loss <= 1"
    )
    assert lead_lines(confirmation)[-1] == told
    assert confirmation.passed_over() == [told], "trial 1 is worse either way"
    assert (
        Confirmation("min", "val", 2, (1, 2), trials, (), 0, broken).passed_over()[0].startswith("trial 1 has a better")
    )


def test_a_constraint_that_the_default_broke_in_the_search_is_read_with_the_table(tmp_path: Path) -> None:
    searched = history()
    default = searched.trials[0]
    default.reports[1] = replace(default.reports[1], violations={"iou.tuber >= 0.15": 0.1, "loss <= 1": -0.5})
    scores = [(0, 0.6), (1, 0.5), (2, 0.4)]
    rows = [
        {"trial": number, "seed": 1, "value": value, "iteration": 10, "split": "val", "val_value": value}
        for number, value in scores
    ]
    write_confirmed(rows, 2, RunDir(tmp_path))
    confirmation = read_confirmation(RunDir(tmp_path), searched)
    assert confirmation is not None
    assert confirmation.best.number == 1
    assert confirmation.broken == {0: ("iou.tuber >= 0.15",)}
    assert "trial 0 (default) has a better mean, 0.6000 compared with 0.5000" in lead_lines(confirmation)[-1]


class TestDifference:
    def test_of_two_configs_is_the_paired_t_interval(self) -> None:
        # Differences 1, 2, 3: mean 2, standard deviation 1; t of 0.975 at 2 degrees of freedom is 4.302653.
        difference = lead(confirmed(1, 2.0, 4.0, 6.0), confirmed(0, 1.0, 2.0, 3.0))
        assert difference.mean == 2.0
        assert difference.interval == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)
        assert not difference.distinguishable

    def test_of_several_configs_holds_for_all_pairs(self) -> None:
        # The residuals of (1, 3), (0, 2), (2, 1) after config and seed means are (-.5, .5), (-.5, .5), (1, -1): a sum
        # of squares of 3 over 2 degrees of freedom. The studentized range of 3 means with 2 degrees of freedom is below
        # 8.331 in 95 of 100 cases.
        scores = [(1.0, 3.0), (0.0, 2.0), (2.0, 1.0)]
        assert tukey_half_width(scores) == pytest.approx(8.331 * (1.5 / 2) ** 0.5, abs=1e-3)
        difference = lead(*(confirmed(number, *values) for number, values in enumerate(scores)))
        assert difference.interval == pytest.approx((1 - 7.2148, 1 + 7.2148), abs=1e-3)

    def test_picking_the_best_after_the_fact_does_not_make_it_better(self) -> None:
        rng = random.Random(0)
        told_apart = 0
        for _ in range(400):
            of_seed = [rng.gauss(0, 2) for _ in range(3)]
            scores = [[one + rng.gauss(0, 1) for one in of_seed] for _ in range(4)]
            half_width = tukey_half_width(scores)
            assert half_width is not None
            means = sorted(sum(row) / 3 for row in scores)
            told_apart += means[-1] - means[0] > half_width
        assert 8 <= told_apart <= 32  # 20 are expected, for the best against the worst of four equal configs

    def test_what_a_seed_does_to_all_cancels(self) -> None:
        one, other = confirmed(1, 0.52, 0.71, 0.31), confirmed(0, 0.50, 0.70, 0.30)
        difference = lead(one, other)
        assert one.std is not None and one.std > 0.19
        assert difference.interval == pytest.approx((-0.001009, 0.027676), abs=1e-6)
        assert lead(one, confirmed(0, 0.50, 0.69, 0.28)).distinguishable

    def test_one_seed_has_no_interval_and_tells_nothing_apart(self) -> None:
        difference = lead(confirmed(1, 0.9), confirmed(0, 0.1))
        assert (difference.interval, difference.distinguishable) == (None, False)
        assert confirmed(1, 0.9).std is None
        assert verdict(difference) == "+0.8, no interval with a single seed: not distinguishable"

    def test_equal_scores_are_not_distinguishable_and_constant_differences_are(self) -> None:
        one = confirmed(1, 0.5, 0.25)
        assert not lead(one, confirmed(0, 0.5, 0.25)).distinguishable
        assert lead(one, confirmed(0, 0.25, 0.0)).interval == (0.25, 0.25)
        assert lead(one, confirmed(0, 0.25, 0.0)).distinguishable

    def test_mean_and_standard_deviation_over_seeds(self) -> None:
        trial_of = confirmed(1, 1.0, 2.0, 6.0)
        assert (trial_of.mean, trial_of.std) == (3.0, pytest.approx(7**0.5))

    def test_in_words(self) -> None:
        zero = confirmed(0, 0.0, 0.0)
        assert verdict(lead(confirmed(1, 0.5, 0.5), zero)) == "+0.5, 95% interval +0.5 to +0.5: better"
        assert verdict(lead(confirmed(1, -0.5, -0.5), zero)) == "-0.5, 95% interval -0.5 to -0.5: worse"
        assert verdict(lead(confirmed(1, 1.0, 0.0), zero)).endswith(": not distinguishable")


class TestConfirmation:
    @pytest.mark.parametrize(("mode", "order"), [("max", [1, 0, 2]), ("min", [2, 0, 1])])
    def test_ranks_by_the_mean(self, mode: Mode, order: list[int], tmp_path: Path) -> None:
        confirmation = confirmation_of(tmp_path, {2: [0.2, 0.3], 1: [0.6, 0.4], 0: [0.5, 0.4]}, mode)
        assert confirmation is not None
        assert [one.number for one in confirmation.trials] == order
        assert (confirmation.best.number, confirmation.seeds, confirmation.top) == (order[0], (1, 2), 2)
        assert confirmation.runner_up is confirmation.default
        winner = winning_trial(history(mode), confirmation)
        assert winner is not None
        assert winner.number == order[0]

    def test_a_config_that_diverged_once_is_out(self, tmp_path: Path) -> None:
        confirmation = confirmation_of(tmp_path, {2: [0.9, None], 1: [0.6, 0.4]})
        assert confirmation is not None
        assert [one.number for one in confirmation.trials] == [1]
        assert confirmation.diverged == (2,)
        assert (confirmation.runner_up, confirmation.default) == (None, None)
        assert confirmation_of(tmp_path, {2: [None, 0.5]}) is None

    def test_is_not_there_before_a_table_is(self, tmp_path: Path) -> None:
        assert read_confirmation(RunDir(tmp_path), history()) is None
        pick = winning_trial(history(), None)
        assert pick is not None
        assert pick.number == 2

    def test_as_an_entry_of_the_best_config(self, tmp_path: Path) -> None:
        confirmation = confirmation_of(tmp_path, {2: [0.2, 0.3], 1: [0.75, 0.5], 0: [0.25, 0.25]})
        assert confirmation is not None
        entry = confirmed_entry(confirmation, "miou", history())
        assert json.loads(json.dumps(entry)) == entry
        # The squared residuals of the six scores sum to 0.0325, over 2 degrees of freedom; q of 3 means is 8.3308.
        half_width = 8.3308 * (0.0325 / 2 / 2) ** 0.5
        assert entry.pop("interval_to_default") == pytest.approx([0.375 - half_width, 0.375 + half_width], abs=1e-4)
        assert entry == {
            "metric": "miou",
            "split": "val",
            "mean": 0.625,
            "std": pytest.approx(0.125 * 2**0.5),
            "val_mean": 0.625,
            "seeds": [1, 2],
            "top": 2,
            "trial": 1,
            "iteration": 10,
            "search_trial": 2,
            "confidence": 0.95,
            "num_compared": 3,
            "default_mean": 0.25,
            "difference_to_default": 0.375,
            "distinguishable_from_default": False,
            "runner_up": 0,
            "runner_up_mean": 0.25,
            "difference_to_runner_up": 0.375,
            "interval_to_runner_up": pytest.approx([0.375 - half_width, 0.375 + half_width], abs=1e-4),
            "distinguishable_from_runner_up": False,
        }

    def test_of_one_seed_has_no_interval_in_the_entry(self, tmp_path: Path) -> None:
        confirmation = confirmation_of(tmp_path, {1: [0.75], 0: [0.25]})
        assert confirmation is not None
        entry = confirmed_entry(confirmation, "miou", history())
        assert (entry["std"], entry["interval_to_default"], entry["distinguishable_from_default"]) == (None, None, None)
        assert entry["difference_to_default"] == 0.5

    def test_test_images_give_the_figure_and_choose_nothing(self, tmp_path: Path) -> None:
        def row(number: int, seed: int, value: float, val_value: float) -> dict[str, Any]:
            figures = {"value": value, "split": "test", "val_value": val_value}
            return {"trial": number, "seed": seed, "iteration": 10, **figures}

        rows = [row(1, 1, 0.25, 0.75), row(1, 2, 0.25, 0.75), row(0, 1, 0.5, 0.5), row(0, 2, 0.5, 0.25)]
        write_confirmed(rows, 1, RunDir(tmp_path))
        confirmation = read_confirmation(RunDir(tmp_path), history())
        assert confirmation is not None
        assert (confirmation.split, confirmation.best.number) == ("test", 1)
        assert (confirmation.best.mean, confirmation.best.val_mean) == (0.25, 0.75)
        assert lead_lines(confirmation) == ["trial 1 minus the default: -0.25, 95% interval -0.25 to -0.25: worse"]
        entry = confirmed_entry(confirmation, "miou", history())
        assert (entry["split"], entry["mean"], entry["val_mean"]) == ("test", 0.25, 0.75)

    def test_a_table_of_before_is_of_the_validation_images(self, tmp_path: Path) -> None:
        now = confirmation_of(tmp_path, {1: [0.75, 0.5], 0: [0.25, 0.25]})
        table = pq.read_table(RunDir(tmp_path).confirmed_table)
        write_table(table.drop_columns(["split", "val_value"]), RunDir(tmp_path).confirmed_table)
        assert read_confirmation(RunDir(tmp_path), history()) == now
