import json
from pathlib import Path

import pytest

from raysearch.confirmation import (
    Confirmation,
    ConfirmedTrial,
    confirmed_entry,
    paired_difference,
    read_confirmation,
    verdict,
    winning_trial,
    write_confirmed,
)
from raysearch.journal import History, Mode
from raysearch.run_dir import RunDir
from tests.raysearch.report.histories import history_of, trial

DEFAULT, OTHER = {"optim.lr": 0.01}, {"optim.lr": 0.05}


def history(mode: Mode = "max") -> History:
    """The search's pick is trial 2."""
    return history_of(
        trial(DEFAULT, [0.4], is_default=True), trial(OTHER, [0.5]), trial(OTHER, [0.9]), trial(OTHER, [0.1]), mode=mode
    )


def confirmation_of(folder: Path, scores: dict[int, list[float | None]], mode: Mode = "max") -> Confirmation | None:
    rows = [
        {"trial": number, "seed": seed, "value": value, "iteration": 10}
        for number, values in scores.items()
        for seed, value in enumerate(values, start=1)
    ]
    write_confirmed(rows, 2, RunDir(folder))
    return read_confirmation(RunDir(folder), history(mode))


class TestPairedDifference:
    def test_by_hand(self) -> None:
        # Differences 1, 2, 3: mean 2, standard deviation 1; t of 0.975 at 2 degrees of freedom is 4.302653.
        difference = paired_difference(ConfirmedTrial(1, 10, (2.0, 4.0, 6.0)), ConfirmedTrial(0, 10, (1.0, 2.0, 3.0)))
        assert difference.mean == 2.0
        assert difference.interval == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)
        assert not difference.distinguishable

    def test_what_a_seed_does_to_both_cancels(self) -> None:
        one, other = ConfirmedTrial(1, 10, (0.52, 0.71, 0.31)), ConfirmedTrial(0, 10, (0.50, 0.70, 0.30))
        difference = paired_difference(one, other)
        assert one.std is not None and one.std > 0.19
        assert difference.interval == pytest.approx((-0.001009, 0.027676), abs=1e-6)
        closer = paired_difference(one, ConfirmedTrial(0, 10, (0.50, 0.69, 0.28)))
        assert closer.distinguishable

    def test_one_seed_has_no_interval_and_tells_nothing_apart(self) -> None:
        difference = paired_difference(ConfirmedTrial(1, 10, (0.9,)), ConfirmedTrial(0, 10, (0.1,)))
        assert (difference.interval, difference.distinguishable) == (None, False)
        assert ConfirmedTrial(1, 10, (0.9,)).std is None
        assert verdict(difference) == "+0.8, one seed has no interval: not distinguishable"

    def test_equal_scores_are_not_distinguishable_and_constant_differences_are(self) -> None:
        one = ConfirmedTrial(1, 10, (0.5, 0.25))
        assert not paired_difference(one, ConfirmedTrial(0, 10, (0.5, 0.25))).distinguishable
        assert paired_difference(one, ConfirmedTrial(0, 10, (0.25, 0.0))).interval == (0.25, 0.25)
        assert paired_difference(one, ConfirmedTrial(0, 10, (0.25, 0.0))).distinguishable

    def test_mean_and_standard_deviation_over_seeds(self) -> None:
        trial_of = ConfirmedTrial(1, 10, (1.0, 2.0, 6.0))
        assert (trial_of.mean, trial_of.std) == (3.0, pytest.approx(7**0.5))

    def test_in_words(self) -> None:
        zero = ConfirmedTrial(0, 10, (0.0, 0.0))
        assert verdict(paired_difference(ConfirmedTrial(1, 10, (0.5, 0.5)), zero)) == (
            "+0.5, 95% interval +0.5 to +0.5: better"
        )
        assert verdict(paired_difference(ConfirmedTrial(1, 10, (1.0, 0.0)), zero)).endswith(": not distinguishable")


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
        half_width = 12.706205 * 0.125
        assert entry.pop("interval_to_default") == pytest.approx([0.375 - half_width, 0.375 + half_width], abs=1e-6)
        assert entry == {
            "metric": "miou",
            "mean": 0.625,
            "std": pytest.approx(0.125 * 2**0.5),
            "seeds": [1, 2],
            "top": 2,
            "trial": 1,
            "iteration": 10,
            "search_trial": 2,
            "confidence": 0.95,
            "default_mean": 0.25,
            "difference_to_default": 0.375,
            "distinguishable_from_default": False,
            "runner_up": 0,
            "runner_up_mean": 0.25,
            "difference_to_runner_up": 0.375,
            "interval_to_runner_up": pytest.approx([0.375 - half_width, 0.375 + half_width], abs=1e-6),
            "distinguishable_from_runner_up": False,
        }

    def test_of_one_seed_has_no_interval_in_the_entry(self, tmp_path: Path) -> None:
        confirmation = confirmation_of(tmp_path, {1: [0.75], 0: [0.25]})
        assert confirmation is not None
        entry = confirmed_entry(confirmation, "miou", history())
        assert (entry["std"], entry["interval_to_default"], entry["distinguishable_from_default"]) == (None, None, None)
        assert entry["difference_to_default"] == 0.5
