"""Tests of searches in this process, with `--executor local`."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from raysearch.history.history import History, read_history
from raysearch.runs import driver
from raysearch.runs.outcome import SearchResult
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import facts, run_search, toy_spec

HERE = Path(__file__).parents[1]
REPOSITORY = HERE.parents[1]
X = {"x": {"type": "float", "low": 0.0, "high": 1.0}}


def spec_of(trainable: str, **sections: Any) -> SearchSpec:
    document = {
        "name": "test",
        "trainable": f"trials.py:{trainable}",
        "space": X,
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 6, "seed": 0},
        "scheduler": {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8, "audit_fraction": 0},
        "resources": {"cpu": 1},
        **sections,
    }
    return parse_space(document, HERE)


def search(out: Path, trainable: str, **sections: Any) -> tuple[SearchResult, History]:
    result = driver.run(spec_of(trainable, **sections), out, executor="local", say=lambda line: None)
    return result, read_history(out / "study.journal")


def test_a_class_trains_here_one_trial_after_the_other(tmp_path: Path) -> None:
    running_before = ray.is_initialized()
    before = dict(os.environ), os.getcwd(), torch.get_num_threads()
    result, history = search(tmp_path / "run", "Curve")
    assert ray.is_initialized() == running_before
    assert (dict(os.environ), os.getcwd(), torch.get_num_threads()) == before
    assert result.finished
    assert {t.status for t in history.trials} == {"completed", "stopped"}
    reports = [report for trial in history.trials for report in trial.reports.values()]
    assert {report.metrics["worker"] for report in reports} == {os.getpid()}
    order = [number for trial in history.trials for number in [trial.number] * len(trial.reports)]
    assert order == sorted(order)
    assert (tmp_path / "run" / "best_checkpoint").is_dir()
    assert (tmp_path / "run" / "report.html").is_file()
    assert not (tmp_path / "run" / "tune").exists(), "Tune leaves nothing"


def test_a_class_with_a_config_finds_nothing_of_the_trial_before(tmp_path: Path) -> None:
    objective = {"metric": "loss", "mode": "min"}
    scheduler = {"name": "asha", "grace_iters": 10, "max_iters": 60}
    _, history = search(tmp_path / "run", "Folder", objective=objective, scheduler=scheduler)
    assert [trial.error for trial in history.trials] == [None] * 6
    draws = {report.metrics["draw"] for trial in history.trials for report in trial.reports.values()}
    assert len(draws) == 1, "every trial finds the same random state"
    assert "LEFT_OVER" not in os.environ


def test_a_function_trains_here(tmp_path: Path) -> None:
    num_threads = threading.active_count()
    result, history = search(tmp_path / "run", "function", scheduler={"name": "none", "max_iters": 5})
    assert result.finished
    assert [sorted(trial.reports) for trial in history.trials] == [[1, 2, 3, 4, 5]] * 6
    assert threading.active_count() <= num_threads + 1, "the thread of a function ends with its trial"


def test_a_function_that_loses_its_worker_keeps_no_other_trial_from_training(tmp_path: Path) -> None:
    _, history = search(tmp_path / "run", "function_without_gpu", scheduler={"name": "none", "max_iters": 1})
    lost = [trial for trial in history.trials if trial.values["x"] > 0.5]
    assert len(lost) == 3
    assert all("CUDA error: an illegal memory access" in (trial.error or "") for trial in lost)
    assert all((trial.status == "failed") == (trial in lost) for trial in history.trials)


@pytest.mark.parametrize(
    ("ends", "status", "error"),
    [
        ("memory", "infeasible", "out of memory: no room for the batch"),
        ("memory in setup", "infeasible", "out of memory: no room for the model"),
        ("nan", "infeasible", "score is nan at iteration 3"),
        ("error", "failed", 'KeyError: "a bug of the user\'s"'),
    ],
)
def test_trials_end_as_on_ray(tmp_path: Path, ends: str, status: str, error: str) -> None:
    space = {"ends": {"type": "categorical", "choices": [ends, "well"]}}
    trials = {"algorithm": "grid", "trials": 2}
    _, history = search(tmp_path / "run", "Curve", space=space, config={"x": 0.5}, search=trials)
    first, second = history.trials
    assert (first.status, second.status) == (status, "completed")
    assert error in (first.error or "")
    assert ('raise KeyError("a bug' in (tmp_path / "run" / "raysearch.log").read_text()) == (ends == "error")


@pytest.mark.parametrize("trainable", ["Curve", "function_with_checkpoint"])
def test_a_killed_search_goes_on_to_the_same_end(tmp_path: Path, trainable: str) -> None:
    """The trainable kills its process once, and the search with it."""
    sections = {"config": {"ends": "killed once", "marker": str(tmp_path / "marker")}}
    code = (
        "from pathlib import Path; from tests.raysearch.runs.test_local import search; "
        f"search(Path({str(tmp_path / 'run')!r}), {trainable!r}, **{sections!r})"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = read_history(tmp_path / "run" / "study.journal")
    assert [trial.status for trial in before.trials] == ["running"]
    assert before.trials[0].reports, "it had reported"
    assert driver.resume(tmp_path / "run", executor="local", say=lambda line: None).finished
    _, whole = search(tmp_path / "whole", trainable, **sections)
    assert values(read_history(tmp_path / "run" / "study.journal")) == values(whole)


def values(history: History) -> list[Any]:
    """Return everything of a history except times and processes."""
    for trial in history.trials:
        for iteration, report in trial.reports.items():
            metrics = {name: value for name, value in report.metrics.items() if name not in ("pid", "worker")}
            trial.reports[iteration] = replace(
                report, metrics=metrics, seconds=0.0, worker=None, peak_memory_bytes=None, memory_limit_bytes=None
            )
    return facts(history)


FORMULA = """
from ray import tune
from pydantic import BaseModel
from tests.raysearch.toy import cost, score


class Toy(tune.Trainable):
    class Config(BaseModel):
        x: float = 0.9
        n: int = 3
        kind: str = "a"
        slope: float = 0.5

    METRICS = frozenset({"score", "loss", "cost"})

    def setup(self, config):
        self.given, self.t = config, 0

    def step(self):
        self.t += 1
        return {"score": score(self.given, self.t), "loss": 1.0 / self.t, "cost": cost(self.given)}

    def save_checkpoint(self, checkpoint_dir):
        return {"t": self.t}

    def load_checkpoint(self, checkpoint):
        self.t = checkpoint["t"]
"""
"""The formula of the toy search, as a trainable."""


@pytest.mark.parametrize("form", ["stopping", "promotion"])
def test_virtual_time_records_the_same_search(tmp_path: Path, form: str) -> None:
    rungs = {"grace_iters": 2, "reduction_factor": 2, "max_iters": 8, "audit_fraction": 0.2}
    search = {"algorithm": "tpe", "trials": 14, "seed": 3}
    spec = toy_spec(tmp_path, scheduler={"name": "asha", "form": form, **rungs}, search=search)
    simulated = run_search(spec, tmp_path / "simulated.journal")
    (tmp_path / "toy.py").write_text(FORMULA)
    driver.run(load_space(written(spec, tmp_path)), tmp_path / "run", executor="local", say=lambda line: None)
    here = read_history(tmp_path / "run" / "study.journal")
    assert {"completed", "stopped"} <= {trial.status for trial in here.trials}
    assert without_checkpoints(here) == without_checkpoints(simulated)


def written(spec: SearchSpec, folder: Path) -> Path:
    (folder / "toy.yaml").write_text(spec.to_yaml())
    return folder / "toy.yaml"


def without_checkpoints(history: History) -> list[Any]:
    """Return everything of a history except times, processes and names of checkpoints."""
    for trial in history.trials:
        for iteration, report in trial.reports.items():
            trial.reports[iteration] = replace(report, checkpoint=None)
    return values(history)


def test_a_signal_interrupts_the_step_in_which_it_comes(tmp_path: Path) -> None:
    result, history = search(tmp_path / "run", "Curve", config={"ends": "interrupted"})
    assert (result.finished, result.interrupted_by) == (False, signal.SIGINT)
    assert [(trial.status, len(trial.reports)) for trial in history.trials] == [("running", 2)], "no third report"


def test_damaged_weights_of_the_winner_are_told(tmp_path: Path) -> None:
    result, history = search(tmp_path / "run", "Curve")
    assert result.lost_weights is None
    winner = history.best_trial()
    assert winner is not None
    best = winner.best(history.mode)
    assert best is not None
    assert best.checkpoint is not None
    checkpoint = tmp_path / "run" / "trials" / f"{winner.number:05d}" / best.checkpoint
    weights = checkpoint / "checkpoint.json"
    weights.write_bytes(b"")
    again = driver.resume(tmp_path / "run", executor="local", say=lambda line: None)
    assert again.lost_weights is not None
    assert again.lost_weights.startswith(f"{checkpoint} {weights.name} has changed since it was written")
    assert again.best_checkpoint == result.best_checkpoint, "the copy of before stays"
