import pytest

from raysearch.report.parts import Fact, Facts, Table, Text
from raysearch.report.view import SearchView
from raysearch.report.winner import winner_info, winner_parts
from raysearch.results.confirmation import Confirmation, ConfirmedTrial
from raysearch.results.expectation import Expectation
from raysearch.space.confirm_settings import Split
from tests.raysearch.report.histories import SPACE, history_of, trial
from trainables.dotted_paths import ABSENT

DEFAULT = {"optim.lr": 0.01, "memory": False}
BETTER = {"optim.lr": 0.05, "memory": True, "memory_size": 300}


def test_the_winner_stands_beside_the_default() -> None:
    history = history_of(
        trial(DEFAULT, [0.1, 0.4, 0.3], is_default=True, metrics={"lr": 0.5}),
        trial(BETTER, [0.2, 0.65, 0.6], "stopped", metrics={"lr": 0.25, "iou": [0.75, float("nan")], "note": "x"}),
        trial(DEFAULT, [0.9], "infeasible"),
    )
    info = winner_info(SearchView(history, "miou", max_iters=3))
    assert info is not None
    assert (info.trial, info.value, info.iteration, info.max_iters, info.is_default) == (1, 0.65, 2, 3, False)
    assert (info.default_value, info.default_iteration, info.default_status) == (0.4, 2, "completed")
    assert info.difference == pytest.approx(0.25)
    assert [(v.path, v.winner, v.default) for v in info.values] == [
        ("optim.lr", 0.05, 0.01),
        ("memory", True, False),
        ("memory_size", 300, ABSENT),
    ]
    assert [v.distribution for v in info.values] == [SPACE[v.path] for v in info.values]
    assert [(n.name, n.winner, n.default) for n in info.numbers[:2]] == [("lr", 0.25, 0.5), ("iou[0]", 0.75, ABSENT)]
    assert [n.name for n in info.numbers] == ["lr", "iou[0]", "iou[1]"]

    facts, named_by, searched, reported = winner_parts(info)
    assert isinstance(named_by, Text)
    assert named_by.text.startswith("The winner is the trial with the best score")
    assert isinstance(facts, Facts)
    assert [(f.name, f.value, f.remark) for f in facts.facts] == [
        ("best miou", "0.65", "trial 1, iteration 2 of 3"),
        ("default", "0.4", "trial 0, iteration 2"),
        ("difference", "+0.25", "better than the default"),
    ]
    assert isinstance(searched, Table)
    assert searched.rows == (
        ("optim.lr", "0.05", "0.01", "0.001 to 0.1, log"),
        ("memory", "true", "false", "true, false"),
        ("memory_size", "300", "—", "100 to 1000"),
    )
    assert isinstance(reported, Table)
    assert reported.rows == (("lr", "0.25", "0.5"), ("iou[0]", "0.75", "—"), ("iou[1]", "—", "—"))


def test_a_smaller_loss_is_better() -> None:
    history = history_of(trial(DEFAULT, [3.0], is_default=True), trial(BETTER, [2.5]), mode="min")
    info = winner_info(SearchView(history, "loss"))
    assert info is not None
    assert info.difference == -0.5
    facts = winner_parts(info)[0]
    assert isinstance(facts, Facts)
    assert (facts.facts[2].value, facts.facts[2].remark) == ("-0.5", "better than the default")


def test_a_default_that_cannot_win_is_told_with_its_status() -> None:
    history = history_of(trial(DEFAULT, [0.9], "infeasible", is_default=True), trial(BETTER, [0.5]))
    facts = winner_parts(winner_info(SearchView(history, "miou")))[0]
    assert isinstance(facts, Facts)
    assert facts.facts[1].remark == "trial 0, iteration 1; the trial is infeasible"
    assert (facts.facts[2].value, facts.facts[2].remark) == ("-0.4", "worse than the default")


def test_a_default_without_a_value_leaves_its_place_empty() -> None:
    history = history_of(trial(DEFAULT, [], "failed", is_default=True), trial(BETTER, [0.5], metrics={"lr": 1.0}))
    facts, _, _, reported = winner_parts(winner_info(SearchView(history, "miou")))
    assert isinstance(facts, Facts)
    assert [(f.value, f.remark) for f in facts.facts[1:]] == [("—", "trial 0 is failed and reported no value")]
    assert isinstance(reported, Table)
    assert reported.header == ("metric", "winner")


def test_a_search_without_a_default_has_no_column_for_it() -> None:
    facts, _, searched = winner_parts(winner_info(SearchView(history_of(trial(BETTER, [0.5])), "miou")))
    assert isinstance(facts, Facts)
    assert len(facts.facts) == 1
    assert isinstance(searched, Table)
    assert searched.header == ("searched value", "winner", "range")
    assert searched.rows[0] == ("optim.lr", "0.05", "0.001 to 0.1, log")


def test_the_config_that_a_trainable_repeats_is_not_among_the_numbers() -> None:
    history = history_of(trial(BETTER, [0.5], metrics={"config_used/optim/lr": 0.05, "loss": 1.0}))
    info = winner_info(SearchView(history, "miou"))
    assert info is not None
    assert [number.name for number in info.numbers] == ["loss"]


def test_the_draws_of_a_bootstrap_are_not_among_the_numbers() -> None:
    metrics = {"miou_se": 0.02, "miou_draws": [0.4, 0.5, 0.6], "iou": [0.25, 0.75]}
    info = winner_info(SearchView(history_of(trial(BETTER, [0.5], metrics=metrics)), "miou"))
    assert info is not None
    assert [number.name for number in info.numbers] == ["miou_se", "iou[0]", "iou[1]"]


def test_luck_is_told_beside_the_best_score() -> None:
    history = history_of(trial(DEFAULT, [0.3], is_default=True), trial(BETTER, [0.5]), trial(BETTER, [0.45]))
    expected = tuple(Expectation(history.trials[n], mean, 0.006, 0.008) for n, mean in ((2, 0.44), (1, 0.42), (0, 0.3)))
    facts = winner_parts(winner_info(SearchView(history, "miou", expected=expected)))[0]
    assert isinstance(facts, Facts)
    assert (facts.facts[1].name, facts.facts[1].value) == ("expected if retrained", "0.42 (0.397 to 0.443)")
    assert facts.facts[2] == Fact("highest expected score", "0.44", "trial 2; `confirm` retrains it too")
    agreed = winner_info(SearchView(history, "miou", expected=expected[1:]))
    assert agreed is not None
    assert agreed.most_promising is None


def test_nothing_wins_before_the_first_report() -> None:
    assert winner_info(SearchView(history_of(trial(BETTER, [], "running")), "miou")) is None


def confirmed(number: int, *values: float) -> ConfirmedTrial:
    return ConfirmedTrial(number, 3, values, values)


class TestConfirmed:
    """Trial 2 is the best of the search; trial 1 is the best with new seeds."""

    HISTORY = history_of(
        trial(DEFAULT, [0.1, 0.4, 0.3], is_default=True), trial(BETTER, [0.2, 0.65, 0.6]), trial(BETTER, [0.7])
    )

    @staticmethod
    def confirmation_of(*trials: ConfirmedTrial, split: Split = "val") -> Confirmation:
        seeds = tuple(range(1, 1 + len(trials[0].values)))
        return Confirmation("max", split, 2, seeds, trials, diverged=(), default_number=0)

    def test_selection_and_confirmed_score_stand_side_by_side(self) -> None:
        confirmation = self.confirmation_of(confirmed(1, 0.75, 0.5), confirmed(2, 0.5, 0.5), confirmed(0, 0.5, 0.25))
        info = winner_info(SearchView(self.HISTORY, "miou", max_iters=3, confirmation=confirmation))
        assert info is not None
        assert (info.trial, info.value, info.search_pick, info.seeds) == (1, 0.65, 2, (1, 2))
        assert [(s.trial, s.is_default, s.selection, s.mean) for s in info.confirmed] == [
            (1, False, 0.65, 0.625),
            (2, False, 0.7, 0.5),
            (0, True, 0.4, 0.375),
        ]
        assert [s.lead.mean if s.lead else None for s in info.confirmed] == [None, 0.125, 0.25]

        facts, explained, picked, table = winner_parts(info)[:4]
        assert isinstance(facts, Facts)
        assert [(f.name, f.value, f.remark) for f in facts.facts] == [
            ("selection miou", "0.65", "trial 1, iteration 2 of 3"),
            ("confirmed miou", "0.625 ± 0.18", "trial 1, mean over 2 seeds"),
            ("default, confirmed", "0.375 ± 0.18", "trial 0, mean over 2 seeds"),
            ("difference", "+0.25", "95% interval -0.3512 to +0.8512: not distinguishable"),
        ]
        assert isinstance(explained, Text)
        assert "mean over 2 seeds (1, 2)" in explained.text
        assert "hold for all pairs of the 3 configs at once" in explained.text
        assert picked == Text("By its selection score alone, trial 2 would have won.")
        assert isinstance(table, Table)
        assert table.header == (
            "trial",
            "selection score",
            "confirmed mean",
            "standard deviation",
            "winner minus this config",
        )
        assert table.rows == (
            ("1", "0.65", "0.625", "0.1768", "—"),
            ("2", "0.7", "0.5", "0", "+0.125, 95% interval -0.4762 to +0.7262: not distinguishable"),
            ("0 (default)", "0.4", "0.375", "0.1768", "+0.25, 95% interval -0.3512 to +0.8512: not distinguishable"),
        )

    def test_one_seed_shows_no_spread_and_a_pick_that_was_not_confirmed_is_told(self) -> None:
        confirmation = self.confirmation_of(confirmed(1, 0.75), confirmed(0, 0.5))
        parts = winner_parts(winner_info(SearchView(self.HISTORY, "miou", confirmation=confirmation)))
        assert isinstance(parts[0], Facts)
        assert [(f.value, f.remark) for f in parts[0].facts[1:]] == [
            ("0.75", "trial 1, mean over 1 seed"),
            ("0.5", "trial 0, mean over 1 seed"),
            ("+0.25", "no interval with a single seed: not distinguishable"),
        ]
        assert isinstance(parts[2], Text)
        assert parts[2].text.endswith("It was not confirmed; confirm again to compare it.")

    def test_a_default_that_wins_has_no_difference_to_itself(self) -> None:
        confirmation = self.confirmation_of(confirmed(0, 0.75, 0.5), confirmed(2, 0.5, 0.5))
        info = winner_info(SearchView(self.HISTORY, "miou", confirmation=confirmation))
        assert info is not None
        assert (info.trial, info.is_default, info.value) == (0, True, 0.4)
        facts = winner_parts(info)[0]
        assert isinstance(facts, Facts)
        assert [f.name for f in facts.facts] == ["selection miou", "confirmed miou"]

    def test_figures_of_test_images_stand_beside_the_validation_mean(self) -> None:
        one, other = ConfirmedTrial(1, 3, (0.5, 0.5), (0.75, 0.5)), ConfirmedTrial(0, 3, (0.5, 0.25), (0.5, 0.25))
        confirmation = self.confirmation_of(one, other, split="test")
        parts = winner_parts(winner_info(SearchView(self.HISTORY, "miou", confirmation=confirmation)))
        facts, explained, table = parts[0], parts[1], parts[3]
        assert isinstance(facts, Facts)
        assert [(f.name, f.value) for f in facts.facts[:2]] == [
            ("selection miou", "0.65"),
            ("confirmed miou on the test images", "0.5 ± 0"),
        ]
        assert isinstance(explained, Text)
        assert explained.text.endswith("the test images play no part in the choice.")
        assert isinstance(table, Table)
        assert table.header[1:4] == ("selection score", "validation mean", "confirmed mean, test images")
        assert [row[1:4] for row in table.rows] == [("0.65", "0.625", "0.5"), ("0.4", "0.375", "0.375")]
