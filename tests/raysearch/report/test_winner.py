import pytest

from raysearch.report.parts import Facts, Table
from raysearch.report.view import SearchView
from raysearch.report.winner import winner_info, winner_parts
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

    facts, searched, reported = winner_parts(info)
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
    facts, _, reported = winner_parts(winner_info(SearchView(history, "miou")))
    assert isinstance(facts, Facts)
    assert [(f.value, f.remark) for f in facts.facts[1:]] == [("—", "trial 0 is failed without a value")]
    assert isinstance(reported, Table)
    assert reported.header == ("reported", "winner")


def test_a_search_without_a_default_has_no_column_for_it() -> None:
    facts, searched = winner_parts(winner_info(SearchView(history_of(trial(BETTER, [0.5])), "miou")))
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


def test_nothing_wins_before_the_first_report() -> None:
    assert winner_info(SearchView(history_of(trial(BETTER, [], "running")), "miou")) is None
