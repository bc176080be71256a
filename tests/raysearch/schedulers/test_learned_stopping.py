"""Tests of `grace_iters: auto`, which learns from completed trials when to stop others."""

import random
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import norm, t

from raysearch.history.history import read_history
from raysearch.schedulers import rungs_of, stops_from
from raysearch.schedulers.learned_stopping import LearnedStopping, chance_of_best, reliable_correlation
from raysearch.space.spec import SearchSpec
from tests.raysearch.schedulers.seen import stops
from tests.raysearch.toy import facts, leave_journal, run_search, toy_spec

IN_ORDER = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
SHUFFLED = [0.4, 0.1, 0.8, 0.6, 0.2, 0.7, 0.5, 0.3]


def rule_after(early: list[float], *, num_pilots: int = 6, grace_iters: int = 1) -> LearnedStopping:
    """Return the rule after 8 trials that have `early` scores at iteration 2 of 8, and `IN_ORDER` in the end."""
    rule = LearnedStopping(num_pilots, grace_iters=grace_iters, max_iters=8, reduction_factor=3)
    for number, (score, final) in enumerate(zip(early, IN_ORDER, strict=True)):
        assert not stops(rule, number, 2, score), "there is nothing to learn from yet"
        assert not stops(rule, number, 8, final)
    return rule


def test_a_trial_far_behind_is_stopped_where_early_scores_predict_final_ones() -> None:
    assert stops(rule_after(IN_ORDER), 8, 2, 0.05)
    assert not stops(rule_after(SHUFFLED), 8, 2, 0.05)


def test_a_trial_that_reports_elsewhere_is_not_stopped() -> None:
    assert not stops(rule_after(IN_ORDER), 8, 3, 0.05)


def test_the_best_third_is_never_stopped() -> None:
    rule = rule_after(IN_ORDER)
    assert not stops(rule, 8, 2, 0.65)  # third of nine
    assert stops(rule, 9, 2, 0.55)  # fifth of ten


def test_no_trial_is_stopped_before_the_pilots_have_completed_or_before_the_first_iteration() -> None:
    assert not stops(rule_after(IN_ORDER, num_pilots=9), 8, 2, 0.05)
    assert not stops(rule_after(IN_ORDER, grace_iters=3), 8, 2, 0.05)


def test_slack_counts_a_trial_as_one_of_the_best() -> None:
    for slack, is_stopped in ((0.0, True), (0.3, False)):
        rule = LearnedStopping(6, grace_iters=1, max_iters=8, reduction_factor=3, slack=slack)
        for number, score in enumerate(IN_ORDER):
            stops(rule, number, 2, score)
            stops(rule, number, 8, score)
        assert stops(rule, 8, 2, 0.45) == is_stopped  # 0.25 behind the third of nine


def test_a_repeated_report_changes_nothing() -> None:
    rule = rule_after(IN_ORDER)
    assert not stops(rule, 3, 2, 0.0)
    assert not stops(rule, 3, 8, 0.0)
    assert stops(rule, 8, 2, 0.05)


def test_nearly_trained_trials_go_on() -> None:
    """A trial at 7 of 8 iterations has an eighth left, so its chance counts eight times."""
    rule = LearnedStopping(6, grace_iters=1, max_iters=8, reduction_factor=3)
    for number, (score, final) in enumerate(zip([0.3, 0.1, 0.2, 0.4, 0.5, 0.8, 0.6, 0.7], IN_ORDER, strict=True)):
        for iteration in (2, 7):
            stops(rule, number, iteration, score)
        stops(rule, number, 8, final)
    assert stops(rule, 8, 2, 0.25)
    assert not stops(rule, 9, 7, 0.25)


def test_the_chance_is_that_of_a_copula_with_heavy_tails() -> None:
    found = chance_of_best(0.7, 0.6, 0.1, degrees_of_freedom=5)
    assert found == pytest.approx(t.cdf((norm.ppf(0.1) - 0.6 * norm.ppf(0.7)) / 0.8, 5))
    assert chance_of_best(0.99, 0.0, 0.1, degrees_of_freedom=10**6) == pytest.approx(0.1, rel=1e-3)


def test_few_trials_show_less_than_many() -> None:
    few, many = (reliable_correlation(*[[float(k ^ 1) for k in range(n)], list(map(float, range(n)))]) for n in (6, 12))
    assert 0.5 < few < 0.829 < many < 0.958
    assert reliable_correlation([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]) == 0.0
    assert reliable_correlation([1.0, 1.0, 1.0, 1.0], [4.0, 3.0, 2.0, 1.0]) == 0.0


def auto(folder: Path, **sections: Any) -> SearchSpec:
    scheduler = {"name": "asha", "grace_iters": "auto", "reduction_factor": 2, "max_iters": 8, "audit_fraction": 0}
    return toy_spec(folder, scheduler=scheduler, **sections)


def test_a_search_begins_with_full_trials_and_then_stops_some(tmp_path: Path) -> None:
    spec = auto(tmp_path)
    path = tmp_path / "study.journal"
    history = run_search(spec, path)
    pilots = [trial.number for trial in history.trials if trial.status == "completed"][:6]
    through = [t for t in history.trials if t.number <= pilots[-1]]
    assert {t.status for t in through} == {"completed", "infeasible"}, "a pilot that diverges is replaced"
    stopped = [trial for trial in history.trials if trial.status == "stopped"]
    assert stopped
    # The scores of the toy trainable are in their final order from the start.
    assert stops_from(spec, read_history(path)) == 2
    assert rungs_of(spec) == ()


def test_cutting_the_journal_anywhere_gives_the_same_search(tmp_path: Path) -> None:
    spec = auto(tmp_path, search={"algorithm": "random", "trials": 14, "seed": 1})
    expected = run_search(spec, tmp_path / "whole.journal")
    assert any(trial.status == "stopped" for trial in expected.trials)
    data = (tmp_path / "whole.journal").read_bytes()
    rng = random.Random(0)
    for cut in [0, len(data) - 1, *rng.sample(range(len(data)), 12)]:
        path = tmp_path / "cut.journal"
        leave_journal(path, data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"
