"""Tests that apply to every scheduler, and tests of each one."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.events import Report, Status
from raysearch.history.history import History
from raysearch.history.journal import Journal
from raysearch.schedulers import Scheduler, build_scheduler, rungs_of
from raysearch.schedulers.hyperband import Hyperband, bracket_sizes
from raysearch.schedulers.median_stopping import MedianStopping
from raysearch.schedulers.progressive_halving import ProgressiveHalving, noise_level, soft_ranks_agree
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.search.search import Search
from raysearch.space.settings import SchedulerSettings
from raysearch.space.spec import SearchSpec
from tests.raysearch.schedulers.seen import stops
from tests.raysearch.toy import facts, run_search, run_trial, toy_spec

RULES = ["asha", "hyperband", "pasha", "median"]


def spec_of(folder: Path, rule: str, **sections: Any) -> SearchSpec:
    scheduler = {"name": rule, "grace_iters": 2, "reduction_factor": 2, "max_iters": 8, "audit_fraction": 0}
    return toy_spec(folder, scheduler=scheduler, **sections)


def random_reports(seed: int, num_trials: int = 24) -> list[tuple[int, int, float]]:
    """Return reports of parallel trials, each at its own iterations; better trials tend to stay better."""
    rng = random.Random(seed)
    quality = [rng.gauss(0, 1) for _ in range(num_trials)]
    reached = dict.fromkeys(range(num_trials), 0)
    reports = []
    while reached:
        number = rng.choice(list(reached))
        reached[number] += rng.choice([1, 1, 1, 2])
        reports.append((number, reached[number], quality[number] + rng.gauss(0, 0.5)))
        if reached[number] >= 8:
            del reached[number]
    return reports


def decisions(rule: Scheduler, reports: list[tuple[int, int, float]]) -> list[bool]:
    return [stops(rule, *report) for report in reports]


def test_every_rule_is_under_contract() -> None:
    named = SchedulerSettings.model_fields["name"].annotation.__args__  # type: ignore[union-attr]
    assert set(named) == {*RULES, "none"}


@pytest.mark.parametrize("rule", RULES)
def test_some_are_stopped_some_run_through_and_the_default_always_does(tmp_path: Path, rule: str) -> None:
    random_search = {"algorithm": "random", "trials": 24, "seed": 3}
    spec = spec_of(tmp_path, rule, config={"x": 0.0, "n": 3}, search=random_search)
    history = run_search(spec, tmp_path / "study.journal")
    assert {"stopped", "completed"} <= {trial.status for trial in history.trials}
    default = history.trials[0]
    assert default.is_default
    assert (default.status, max(default.reports)) == ("completed", 8)
    assert all(max(trial.reports) >= 2 for trial in history.trials if trial.status == "stopped"), "not before the grace"


@pytest.mark.parametrize("rule", RULES)
def test_cutting_the_journal_anywhere_gives_the_same_search(tmp_path: Path, rule: str) -> None:
    spec = spec_of(tmp_path, rule, search={"algorithm": "random", "trials": 14, "seed": 3})
    expected = run_search(spec, tmp_path / "whole.journal")
    data = (tmp_path / "whole.journal").read_bytes()
    rng = random.Random(0)
    for cut in [0, len(data) - 1, len(data), *rng.sample(range(len(data)), 17)]:
        path = tmp_path / "cut.journal"
        path.write_bytes(data[:cut])
        assert facts(run_search(spec, path)) == facts(expected), f"cut at byte {cut}"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_rebuilt_from_the_journal_decides_alike(tmp_path: Path, rule: str) -> None:
    spec = spec_of(tmp_path, rule, search={"algorithm": "random", "trials": 24, "seed": 3})
    further = [(100 + number, iteration, 0.8 + 0.1 * value) for number, iteration, value in random_reports(7)]
    run_search(spec, tmp_path / "study.journal")
    with Journal(tmp_path / "study.journal") as journal:
        rebuilt = decisions(Search(spec, journal)._scheduler, further)
    live = build_scheduler(spec)
    with Journal(tmp_path / "live.journal") as journal:
        search = Search(spec, journal)
        search._scheduler = live
        while (proposal := search.propose()) is not None:
            run_trial(search, proposal)
    assert rebuilt == decisions(live, further)
    assert rebuilt != decisions(build_scheduler(spec), further), "what was observed before matters"


@pytest.mark.parametrize("rule", RULES)
def test_minimising_mirrors_maximising(tmp_path: Path, rule: str) -> None:
    up, down = (endings(tmp_path, rule, mode) for mode in ("max", "min"))
    assert up == down
    assert {"stopped", "completed"} <= set(up)


def endings(folder: Path, rule: str, mode: str) -> list[Status]:
    """Return how trials end that report side by side; with mode min, the negatives of the scores are reported."""
    search = {"algorithm": "random", "trials": 24, "seed": 3}
    spec = spec_of(folder, rule, objective={"metric": "score", "mode": mode}, search=search)
    with Journal(folder / f"{mode}.journal") as journal:
        opened = Search(spec, journal)
        for _ in range(24):
            opened.propose()
        for number, iteration, value in random_reports(0):
            told = value if mode == "max" else -value
            opened.take(number, Report(iteration, told, {}, checkpoint=None, seconds=1.0, done=False))
        return [trial.status for trial in opened.history.trials]


@pytest.mark.parametrize("rule", RULES)
def test_a_repeated_report_changes_nothing(tmp_path: Path, rule: str) -> None:
    spec, reports = spec_of(tmp_path, rule), random_reports(3)
    expected = decisions(build_scheduler(spec), reports)
    repeating = build_scheduler(spec)
    found = []
    for number, iteration, value in reports:
        found.append(stops(repeating, number, iteration, value))
        stops(repeating, number, iteration, value + 5.0)
    assert found == expected


@pytest.mark.parametrize(
    ("rule", "rungs"), [("asha", (2, 4)), ("hyperband", (2, 4)), ("pasha", (2, 4)), ("median", ())]
)
def test_the_report_is_told_the_rungs(tmp_path: Path, rule: str, rungs: tuple[int, ...]) -> None:
    assert rungs_of(spec_of(tmp_path, rule), History()) == rungs


# Median


def test_the_best_value_is_held_against_the_median_of_running_averages() -> None:
    rule = MedianStopping(grace_iters=2)
    for number, curve in enumerate([(0.2, 0.4), (0.4, 0.8), (0.6, 0.6)]):  # averages at 2: 0.3, 0.6, 0.6
        for iteration, value in enumerate(curve, start=1):
            assert not stops(rule, number, iteration, value), "fewer than three others"
    assert not stops(rule, 3, 1, 0.0), "within the grace"
    assert stops(rule, 3, 2, 0.59)
    assert not stops(rule, 4, 1, 0.6)
    assert not stops(rule, 4, 2, 0.1), "its best value by then is the median, and not strictly worse"


def test_averages_at_a_step_between_the_reports_of_others() -> None:
    rule = MedianStopping(grace_iters=1)
    for number in range(3):
        stops(rule, number, 2, 0.2)
        stops(rule, number, 6, 0.8)
    assert not stops(rule, 3, 4, 0.2), "at 4 the others' average is 0.2: that of their reports at 2"
    assert stops(rule, 4, 4, 0.19)
    for number in range(5, 12):  # these pass step 4 without a report there
        stops(rule, number, 3, 0.4)
        stops(rule, number, 6, 0.8)
    assert stops(rule, 12, 4, 0.39), "the median at 4 is now 0.4"


def test_a_plain_count_of_the_median_rule_agrees() -> None:
    reports = random_reports(11)
    rule = MedianStopping(grace_iters=3)
    curves: dict[int, dict[int, float]] = {}
    for number, step, value in reports:
        averages = []
        for other, curve in curves.items():
            until = [v for i, v in curve.items() if i <= step]
            if other != number and max(curve) >= step and until:
                averages.append(sum(until) / len(until))
        averages.sort()
        curves.setdefault(number, {})[step] = value
        half = len(averages) // 2
        expected = False
        if step >= 3 and len(averages) >= 3:
            middle = averages[half] if len(averages) % 2 else (averages[half - 1] + averages[half]) / 2
            expected = min(curves[number].values()) > middle
        assert stops(rule, number, step, -value) == expected


# Hyperband


def test_bracket_sizes_are_the_papers() -> None:
    assert bracket_sizes(4, 3) == [81, 34, 15, 8, 5]
    assert bracket_sizes(0, 3) == [1]


def hyperband(seed: int = 0) -> Hyperband:
    return Hyperband(grace_iters=1, max_iters=27, reduction_factor=3, seed=seed)


def test_brackets_begin_one_rung_later_each_and_are_drawn_by_size() -> None:
    rule = hyperband()
    assert [bracket.rungs for bracket in rule.brackets] == [(1, 3, 9), (3, 9), (9,), ()]
    counts = Counter(rule.bracket_of(number) for number in range(3000))
    sizes = bracket_sizes(3, 3)
    for bracket, size in enumerate(sizes):
        assert counts[bracket] / 3000 == pytest.approx(size / sum(sizes), abs=0.03)
    assert [hyperband().bracket_of(n) for n in range(99)] == [hyperband().bracket_of(n) for n in range(99)]
    assert [hyperband(1).bracket_of(n) for n in range(99)] != [hyperband().bracket_of(n) for n in range(99)]


def test_a_trial_competes_in_its_own_bracket_alone() -> None:
    rule, reports = hyperband(), random_reports(2, num_trials=40)
    reports = [(number, iteration * 3, value) for number, iteration, value in reports]
    found = decisions(rule, reports)
    alone = [SuccessiveHalving(grace_iters=g, max_iters=27, reduction_factor=3) for g in (1, 3, 9, 27)]
    assert found == [stops(alone[rule.bracket_of(report[0])], *report) for report in reports]
    assert not any(stop for stop, (number, *_) in zip(found, reports, strict=True) if rule.bracket_of(number) == 3)


# PASHA


def test_soft_ranks() -> None:
    below, top = {0: 0.1, 1: 0.2, 2: 0.5}, {0: 1.2, 1: 1.1, 2: 1.5}
    assert not soft_ranks_agree(below, top, 0.0)
    assert soft_ranks_agree(below, top, 0.11), "0 and 1 are exchangeable"
    assert not soft_ranks_agree(below, {0: 1.5, 1: 1.1, 2: 1.2}, 0.11), "2 left its group"
    assert soft_ranks_agree(below, {0: 1.0, 1: 1.1, 2: 1.2}, 0.0)
    assert soft_ranks_agree({0: 0.2, 1: 0.1}, {0: 1.0, 1: 1.0}, 0.0), "a tie contradicts nothing"


def test_noise_is_what_separates_curves_that_cross_and_cross_back() -> None:
    flat = {1: 0.0, 2: 0.0, 3: 0.0}
    crossing = {1: 0.1, 2: -0.1, 3: 0.3}
    once = {1: 0.9, 2: 0.9, 3: -0.9}
    assert noise_level({0: flat, 1: crossing}) == pytest.approx(0.3)
    assert noise_level({0: flat, 1: once}) == 0.0
    assert noise_level({0: flat, 1: {1: 0.1, 2: -0.1}}) == 0.0
    tenths = {number: {1: 0.1, 2: -0.1, 3: 0.1 * number} for number in range(1, 12)}
    pairs = [noise_level({0: flat, number: curve}) for number, curve in tenths.items()]
    assert pairs == pytest.approx([0.1 * number for number in tenths])
    # Only pairs with `flat` cross: the curves of `tenths` agree with one another up to the last report.
    assert noise_level({0: flat, **tenths}) == pytest.approx(1.0), "the 90th percentile of 0.1 to 1.1"


def pasha() -> ProgressiveHalving:
    return ProgressiveHalving(grace_iters=1, max_iters=8, reduction_factor=2)


def test_a_stable_ranking_stops_every_trial_at_the_top_rung() -> None:
    rule = pasha()
    assert rule.rungs == (1, 2, 4, 8)
    for number in range(6):
        assert not stops(rule, number, 1, 0.1 * number), "ever better: among the best of the rung"
        assert stops(rule, number, 2, 1 + 0.1 * number)
    assert rule.top == 1


def test_an_exchange_beyond_the_noise_raises_the_top_rung() -> None:
    rule = pasha()
    stops(rule, 0, 1, 0.5)
    assert stops(rule, 0, 2, 0.6)
    stops(rule, 1, 1, 0.4)
    assert not stops(rule, 1, 2, 0.9), "worse below, better at the top: the ranking is not settled"
    assert rule.top == 2
    assert stops(rule, 1, 4, 1.0), "alone in the new top rung"
    stops(rule, 2, 1, 0.6)
    assert stops(rule, 2, 2, 0.7), "second of three at a rung that lets one on"


def test_the_top_rung_rises_to_the_full_budget_at_most() -> None:
    rule = pasha()
    tops = []
    for iteration, values in zip(rule.rungs, [(0.1, 0.2), (1.0, 0.1), (0.1, 0.2), (1.0, 0.1)], strict=True):
        for number, value in enumerate(values):
            stops(rule, number, iteration, value)
        tops.append(rule.rungs[rule.top])
    assert tops == [2, 4, 8, 8]
