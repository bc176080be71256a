"""Tests of the checks that involve several sections: schedulers, rungs, algorithms and confirmations."""

from pathlib import Path
from typing import Any

import pytest

from tests.raysearch.space.space_files import BASE, SEVERAL, changed, faults_of, searching, spec_of


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"space": {"train.seed": {"type": "int", "low": 0, "high": 9}}}, "train.seed is searched"),
        (
            {"search": {"confirm": {"split": "test"}}, "objective__metric": "loss"},
            "loss cannot be computed on the test",
        ),
        ({"trainable": "t.py:Small", "config": None, "space": None}, "the config of "),
    ],
)
def test_what_keeps_a_search_from_being_confirmed(folder: Path, changes: dict[str, Any], expected: str) -> None:
    faults = faults_of(folder, changed(**{"search": {"confirm": True}, **changes}))
    assert [fault for fault in faults if fault.startswith(f"space.yaml: search.confirm: {expected}")]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (
            {"name": "none", "grace_iters": 90, "reduction_factor": 4},
            "scheduler.grace_iters, scheduler.reduction_factor are given but have no effect: scheduler.name is none, "
            "so no trial is stopped",
        ),
        (
            {"name": "asha", "grace_iters": 90, "pilot_trials": 9},
            "scheduler.pilot_trials is given but has no effect: scheduler.grace_iters is not auto",
        ),
        (
            {"name": "median", "grace_iters": 90, "reduction_factor": 4},
            "scheduler.reduction_factor is given but has no effect: scheduler.name is median, which has no rungs",
        ),
        ({"name": "asha", "pilot_trials": 9, "reduction_factor": 4}, None),
        ({"name": "median", "reduction_factor": 4}, None),
    ],
)
def test_settings_that_the_rule_does_not_use_are_said(
    folder: Path, scheduler: dict[str, Any], expected: str | None
) -> None:
    assert spec_of(folder, changed(scheduler=scheduler)).notices == ((expected,) if expected else ())


def test_first_points_of_nothing_are_said(folder: Path) -> None:
    (line,) = spec_of(folder, changed(search={"first_points": 3})).notices
    assert line == "search.first_points is given but has no effect: search.warm_start is absent"


@pytest.mark.parametrize(
    ("scheduler", "warmup", "expected"),
    [
        ({"grace_iters": 500}, 500, "grace_iters: 500 is not after the warm-up, which ends at iteration 500; "),
        ({"grace_iters": 500}, 700, "give at least 701"),
        ({"grace_iters": 5000}, 0, "5000 is more than the full budget of 4500 iterations; give at most 4500"),
        ({"grace_iters": 500, "max_iters": 400}, 0, "500 is more than the full budget of 400"),
        ({"max_iters": 4501}, 0, "max_iters: 4501 is more than the config's own budget of 4500 iterations"),
        ({"max_iters": 4501, "name": "none"}, 0, "max_iters: 4501 is more than the config's own budget"),
        ({"reduction_factor": 1}, 0, "reduction_factor: 1 must be greater than or equal to 2"),
        ({"grace_iters": 0}, 0, "grace_iters: 0 must be greater than or equal to 1"),
        ({"name": "hyperbolic"}, 0, "\"hyperbolic\" must be 'asha', 'hyperband', 'pasha', 'median' or 'none'"),
        ({"audit_fraction": 1.5}, 0, "audit_fraction: 1.5 must be less than or equal to 1"),
        (
            {"name": "hyperband", "grace_iters": 4500},
            0,
            "grace_iters: 4500 of 4500 iterations, but hyperband only stops",
        ),
        ({"name": "median", "grace_iters": 4500}, 0, "below the full budget; give grace_iters of at most 4499"),
        (
            {"name": "pasha", "grace_iters": 1500},
            0,
            "two rungs below the full budget; give grace_iters of at most 1499",
        ),
        (
            {"name": "hyperband", "form": "promotion"},
            0,
            "scheduler.form: promotion, but hyperband only has the stopping form; set scheduler.name to asha",
        ),
        (
            {"name": "median", "slack": "auto"},
            0,
            "scheduler.slack: auto, but median has no rungs to which slack applies; set scheduler.name to asha",
        ),
        ({"slack": -0.1}, 0, "scheduler.slack"),
        (
            {"name": "pasha", "grace_iters": "auto"},
            0,
            "scheduler.grace_iters: auto only works with asha in its stopping form, not with pasha; give",
        ),
        ({"form": "promotion", "grace_iters": "auto"}, 0, "in its stopping form, not with asha, promotion"),
        ({"grace_iters": "auto", "pilot_trials": 4}, 0, "pilot_trials: 4 must be greater than or equal to 5"),
        ({"name": "pasha"}, 1499, "scheduler: 1500 of 4500 iterations is the first rung, but pasha needs two rungs"),
        ({}, 4500, "the warm-up ends at iteration 4500 and the full budget at 4500, so no rung fits in between"),
    ],
)
def test_wrong_schedulers(folder: Path, scheduler: dict[str, Any], warmup: int, expected: str) -> None:
    faults = faults_of(folder, changed(scheduler=scheduler, config__contrast={"warmup_iters": warmup}))
    (fault,) = [fault for fault in faults if fault.startswith("space.yaml: scheduler")]
    assert expected in fault
    assert all("contrast never starts" in other for other in faults if other != fault)


def test_the_latest_searched_warmup_counts(folder: Path) -> None:
    document = changed(config__contrast={"loss_weight": 0.0}, scheduler={"grace_iters": 900})
    document["space"] = {
        "contrast.warmup_iters": {"type": "int", "low": 0, "high": 1000},
        "contrast.loss_weight": {"type": "float", "low": 0.0, "high": 1.0},
    }
    (fault,) = faults_of(folder, document)
    assert "ends at iteration 1000; give at least 1001" in fault
    document["space"].pop("contrast.loss_weight")
    assert "no trial would use it" in faults_of(folder, document)[0]


@pytest.mark.parametrize(
    ("scheduler", "warmup", "max_iters", "grace_iters"),
    [
        ({}, 0, 4500, 500),
        ({}, 600, 4500, 601),
        ({"name": "hyperband"}, 0, 4500, 500),
        ({"name": "hyperband", "reduction_factor": 4}, 0, 4500, 281),
        ({"name": "hyperband", "max_iters": 90}, 0, 90, 10),
        ({"name": "hyperband", "max_iters": 4}, 0, 4, 1),
        ({"name": "hyperband"}, 600, 4500, 601),
        ({"name": "none"}, 600, 4500, None),
        ({"grace_iters": 4500}, 0, 4500, 4500),
        ({"grace_iters": "auto"}, 600, 4500, 601),
    ],
)
def test_budget_and_first_rung(
    folder: Path, scheduler: dict[str, Any], warmup: int, max_iters: int, grace_iters: int | None
) -> None:
    spec = spec_of(folder, changed(scheduler=scheduler, config__contrast={"warmup_iters": warmup}))
    assert (spec.max_iters, spec.grace_iters) == (max_iters, grace_iters)


def test_asha_learns_when_to_stop_if_no_first_rung_is_given(folder: Path) -> None:
    def learns(**scheduler: Any) -> bool:
        return spec_of(folder, changed(scheduler=scheduler)).scheduler.is_learned

    assert learns()
    assert learns(grace_iters="auto")
    assert not learns(grace_iters=7)
    assert not learns(form="promotion")
    assert not learns(name="pasha")


def test_asha_needs_a_budget(folder: Path) -> None:
    words = {"type": "int", "low": 1, "high": 2}
    document = searching("x", words, trainable="t.py:anything", config={}, scheduler={})
    (fault,) = faults_of(folder, document)
    assert "scheduler.max_iters: is missing, and the trainable states no budget of its own" in fault
    spec = spec_of(folder, {**document, "scheduler": {"max_iters": 27}})
    assert (spec.max_iters, spec.grace_iters) == (27, 3)


def test_cmaes_knows_one_objective(folder: Path) -> None:
    (fault,) = faults_of(folder, changed(objective=SEVERAL, search={"algorithm": "cmaes"}))
    assert "search.algorithm: cmaes supports a single objective, but there are 3; use tpe, nsga2 or gp" in fault


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"objective": BASE["objective"]}, "scheduler.by: nondominated_rank needs several objectives"),
        (
            {"name": "median"},
            "scheduler.by: nondominated_rank only works with asha in its stopping form, not with median",
        ),
        (
            {"form": "promotion"},
            "scheduler.by: nondominated_rank only works with asha in its stopping form, not with asha,",
        ),
        ({"slack": 0.1}, "scheduler.slack: 0.1, but slack does not apply to ranks; set slack to 0"),
        ({"grace_iters": "auto"}, "scheduler.grace_iters: auto only uses the first objective"),
    ],
)
def test_nondominated_ranks_need_several_objectives_and_plain_asha(
    folder: Path, changes: dict[str, Any], expected: str
) -> None:
    by_rank = {"by": "nondominated_rank"}
    assert spec_of(folder, changed(objective=SEVERAL, scheduler=by_rank)).scheduler.by == "nondominated_rank"
    objective = changes.pop("objective", SEVERAL)
    (fault,) = faults_of(folder, changed(objective=objective, scheduler={**by_rank, **changes}))
    assert expected in fault


def test_grid_needs_steps_and_cmaes_numbers(folder: Path) -> None:
    (fault,) = faults_of(folder, changed(search={"algorithm": "grid"}))
    assert "space.contrast.temperature: a grid search needs a step for each float" in fault
    document = changed(search={"algorithm": "grid"})
    document["space"]["contrast.temperature"] = {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1}
    assert spec_of(folder, document).search.algorithm == "grid"
    words = {"type": "categorical", "choices": [True, False]}
    (fault,) = faults_of(folder, searching("contrast.memory", words, search={"algorithm": "cmaes"}))
    assert "search.algorithm: cmaes needs at least one numeric parameter" in fault


@pytest.mark.parametrize(
    ("metric", "slack", "expected"),
    [
        ("miou", "auto", []),
        ("loss", 0.1, []),
        (
            "loss",
            "auto",
            ["scheduler.slack: auto is 0 for loss: the trainable reports draws of miou only; give a number"],
        ),
    ],
)
def test_automatic_slack_without_draws_is_told(folder: Path, metric: str, slack: Any, expected: list[str]) -> None:
    document = changed()
    document |= {"objective": {"metric": metric, "mode": "max"}, "scheduler": {"name": "asha", "slack": slack}}
    assert [line for line in spec_of(folder, document).notices if "slack" in line] == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"config__train": {"num_threads": 999, "max_iters": 600}},
            "space.yaml: config.train.num_threads: 999 threads are more than the CPUs of a trial, because "
            "resources.cpu is 1; give at most 1, or raise resources.cpu",
        ),
        (
            {"space": {"train.num_threads": {"type": "int", "low": 1, "high": 4}}, "resources": {"cpu": 2}},
            "space.yaml: space.train.num_threads: 4 threads are more than the CPUs of a trial, because "
            "resources.cpu is 2; give at most 2, or raise resources.cpu",
        ),
        (
            {"space": {"train.num_threads": {"type": "categorical", "choices": [1, 8]}}},
            "space.yaml: space.train.num_threads: 8 threads are more than the CPUs of a trial, because "
            "resources.cpu is 1; give at most 1, or raise resources.cpu",
        ),
    ],
)
def test_a_trial_has_no_more_threads_than_cpus(folder: Path, changes: dict[str, Any], expected: str) -> None:
    assert faults_of(folder, changed(**changes)) == [expected]
