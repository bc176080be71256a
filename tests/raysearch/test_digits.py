"""Tests that every command of a search works with a trainable that is not a segmentation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from raysearch.runs import driver
from raysearch.space.parsing import load_space
from tests.raysearch import digits
from tests.raysearch.command import Command
from tests.raysearch.digits import Digits, DigitsConfig

SPACE = f"""
name: digits
trainable: {Path(digits.__file__)}:Digits
config: {{iterations: 40, report_every: 10, penalty: l2}}
space:
  lr:      {{type: float, low: 1e-3, high: 1.0, log: true}}
  penalty: {{type: categorical, choices: [none, l1, l2]}}
  alpha:   {{type: float, low: 1e-4, high: 1e-2, log: true, when: {{penalty: [l1, l2]}}}}
objective: {{metric: accuracy, mode: max}}
search:    {{algorithm: random, trials: 4, seed: 0}}
scheduler: {{name: asha, grace_iters: 10, reduction_factor: 2}}
resources: {{cpu: 1, concurrent: 2}}
"""


Raysearch = Callable[..., str]


@pytest.fixture
def raysearch(command: Command) -> Raysearch:
    """Provide a function that runs a command in this process and returns what it prints."""

    def run(*words: str | Path, code: int = 0) -> str:
        ended, out, err = command(*words)
        assert ended == code, out + err
        return out + err

    return run


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="module")
def run(space: Path, local_ray: None) -> Path:
    """Provide the folder of a search of four trials; the last one was added later and trained in this process."""
    out = space.with_name("run")
    driver.run(load_space(space, ["search.trials=3"]), out)
    driver.resume(out, add_trials=1, executor="local")
    return out


def best(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / "best_config.json").read_text())
    return document


def test_check_describes_the_data_and_measures_a_trial(raysearch: Raysearch, space: Path) -> None:
    printed = raysearch("check", space)
    assert "note: the digits are those of scikit-learn" in printed
    assert "digit" in printed
    assert "nothing wrong was found" in printed


def test_run_and_resume_say_what_they_found(raysearch: Raysearch, space: Path, tmp_path: Path) -> None:
    local = ("--executor", "local")
    printed = raysearch("run", space, "--out", tmp_path / "run", "--set", "search.trials=2", *local)
    assert "digits:     400 train, 200 val" in printed
    assert f"best accuracy:    {best(tmp_path / 'run')['raysearch']['value']:.4f}" in printed
    printed = raysearch("resume", tmp_path / "run", "--add-trials", "1", *local)
    assert " of 3)" in printed
    assert len(pd.read_parquet(tmp_path / "run" / "trials.parquet")) == 3


def test_a_search_that_is_resumed_finds_a_config_and_exports_it(raysearch: Raysearch, run: Path) -> None:
    trials = pd.read_parquet(run / "trials.parquet")
    assert len(trials) == 4
    assert trials["value"].max() > 0.8
    document = best(run)
    origin = document.pop("raysearch")
    assert origin["trainable"] == f"{Path(digits.__file__)}:Digits"
    assert origin["value"] == trials["value"].max()
    assert (origin["seed"], origin["num_threads"]) == (0, None)
    assert DigitsConfig.model_validate(document).seed == 0
    assert json.loads(raysearch("export", run)) == best(run)


def test_train_reaches_the_value_of_the_winner_and_evaluate_scores_its_checkpoint(
    raysearch: Raysearch, run: Path, tmp_path: Path
) -> None:
    origin = best(run)["raysearch"]
    printed = raysearch("train", run / "best_config.json", "--out", tmp_path / "final")
    assert "iteration 40/40  accuracy" in printed
    rows = pd.read_parquet(tmp_path / "final" / "results.parquet").set_index("iteration")
    assert rows.index.tolist() == [10, 20, 30, 40]
    assert rows.loc[origin["iteration"], "value"] == origin["value"]
    trained = json.loads((tmp_path / "final" / "config.json").read_text())
    assert trained.pop("raysearch") == {"trainable": origin["trainable"]}

    printed = raysearch("evaluate", tmp_path / "final" / "config.json", "--checkpoint", tmp_path / "final/checkpoint")
    assert f"accuracy {rows['value'].iloc[-1]:.6f}" in printed
    best_config, best_checkpoint = run / "best_config.json", run / "best_checkpoint"
    printed = raysearch("evaluate", best_config, "--checkpoint", best_checkpoint, "--split", "test")
    assert "note: test: 200 digits" in printed
    config = DigitsConfig.model_validate({k: v for k, v in best(run).items() if k != "raysearch"})
    scores = Digits.evaluate(config, best_checkpoint, "test", lambda done, total: None)
    assert f"accuracy {scores['accuracy']:.6f}" in printed


def test_the_report_shows_the_panel_of_the_trainable(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "<h2>Predictions</h2>" in page
    assert f"Trial {best(run)['raysearch']['trial']} mistakes " in page
    table = pd.read_parquet(run / "predictions" / "scores.parquet")
    assert f"mistakes {(table['digit'] != table['predicted']).sum()} of 200 digits" in page
    assert "predicted " in page
    assert page.count('src="data:image/png;base64,') == 3
    assert "raysearch evaluate" in page


def test_confirm_trains_the_best_with_new_seeds_and_measures_test_digits(raysearch: Raysearch, run: Path) -> None:
    words = ("--top", "1", "--seeds", "2", "--split", "test", "--executor", "local")
    printed = raysearch("confirm", run, *words)
    assert "accuracy on the test images at the full budget" in printed
    table = pd.read_parquet(run / "confirmed.parquet")
    assert sorted(table["seed"].unique()) == [1, 2]
    assert (table["iteration"] == 40).all()
    assert (table["value"] != table["val_value"]).any()
    trial, seed = table.iloc[0][["trial", "seed"]]
    folder = run / "confirm" / f"trial-{trial}-seed-{seed}"
    assert json.loads((folder / "config.json").read_text())["seed"] == seed
    assert "confirmed" in best(run)["raysearch"]
    raysearch("report", run)


def test_what_the_trainable_does_not_declare_is_refused_in_one_message(raysearch: Raysearch, run: Path) -> None:
    for words in (["export", run, "--onnx", "x.onnx"], ["export", run, "--format", "openseg"]):
        assert "digits.py:Digits has" in " ".join(raysearch(*words, code=2).split())
