"""Tests of which trials can share their first iterations."""

from pathlib import Path
from typing import Any

import pytest

from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.runs.driver import _tidy
from raysearch.search.beginnings import may_share_beginning
from raysearch.search.search import Search
from tests.raysearch.search.test_estimate import spec_of
from tests.raysearch.toy import run_search, toy_spec

LR = {"optim.lr": {"type": "float", "low": 1e-3, "high": 0.1}}
WARM: dict[str, Any] = {
    "train": {"max_iters": 100, "report_iters": 10, "batch_size": 2},
    "contrast": {"warmup_iters": 30},
}
MOMENTUM = {
    "optim.name": {"type": "categorical", "choices": ["sgd", "adamw"]},
    "optim.momentum": {"type": "float", "low": 0.1, "high": 0.9, "when": {"optim.name": "sgd"}},
}


@pytest.mark.parametrize(
    ("space", "config", "values", "may_share"),
    [
        (LR, WARM, {"optim.lr": 0.02}, False),
        (LR, WARM, {"optim.lr": 0.01}, False),  # the default
        ({"optim.lr": {**LR["optim.lr"], "step": 1e-3}}, WARM, {"optim.lr": 0.02}, True),
        ({"train.batch_size": {"type": "int", "low": 2, "high": 99}}, WARM, {"train.batch_size": 7}, True),
        ({"contrast.temperature": LR["optim.lr"]}, WARM, {"contrast.temperature": 0.05}, True),
        (LR, {"train": {**WARM["train"], "shared_iters": 20}}, {"optim.lr": 0.02}, True),
        (
            {"model.dropout": LR["optim.lr"]},
            {"train": {**WARM["train"], "shared_iters": 20}},
            {"model.dropout": 0.05},
            False,
        ),
        (MOMENTUM, WARM, {"optim.name": "sgd", "optim.momentum": 0.3}, False),
        (MOMENTUM, WARM, {"optim.name": "adamw"}, True),
        (
            {"train.batch_size": {"type": "int", "low": 2, "high": 9}},
            {},
            {"train.batch_size": 7},
            False,
        ),  # nothing to share
    ],
)
def test_a_beginning_that_no_other_trial_can_have(
    space: dict[str, Any], config: dict[str, Any], values: dict[str, Any], may_share: bool, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, space=space, config=config)
    assert may_share_beginning(spec, values, [spec.default_values()]) is may_share


def test_points_that_are_given_may_begin_alike(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, space={**LR, "contrast.temperature": LR["optim.lr"]}, config=WARM)
    given = [spec.default_values(), {"optim.lr": 0.01, "contrast.temperature": 0.05}]
    assert all(may_share_beginning(spec, values, given) for values in given)
    assert not may_share_beginning(spec, {"optim.lr": 0.02, "contrast.temperature": 0.05}, given)


def test_of_another_trainable_the_trainable_decides(tmp_path: Path) -> None:
    assert may_share_beginning(toy_spec(tmp_path), {"x": 0.5})


def test_the_shared_checkpoints_go_when_the_search_has_finished(tmp_path: Path) -> None:
    run_dir = RunDir.create("toy", tmp_path / "run")
    checkpoint = run_dir.shared / "0f" / "30" / "model.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 2})
    with Journal(run_dir.journal) as journal:
        _tidy(Search(spec, journal), run_dir)
    assert checkpoint.exists(), "a search that is resumed goes on from them"
    run_search(spec, run_dir.journal)
    with Journal(run_dir.journal) as journal:
        _tidy(Search(spec, journal), run_dir)
    assert not run_dir.shared.exists()
