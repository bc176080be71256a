"""Tests of the commands as a user types them: in a process of their own if that is the point, otherwise in this one."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from raysearch.checks import check
from raysearch.checks.measure import NotMeasured
from raysearch.errors import WorkError
from raysearch.history.history import History, read_history
from raysearch.runs import driver
from tests.raysearch.command import Command
from tests.raysearch.signalled import signalled

TRIALS = Path(__file__).parents[1] / "trials.py"
REPOSITORY = Path(__file__).parents[3]
HERE = ("--executor", "local")
WRITE = "raysearch.history.journal:Journal.write"


def raysearch(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raysearch", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "400"},
    )


def space_file(folder: Path, **sections: Any) -> Path:
    document = {
        "name": "curves",
        "trainable": f"{TRIALS}:Curve",
        "config": {"pause": 0.05},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "tpe", "trials": 12, "seed": 0},
        "scheduler": {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8},
        "resources": {"cpu": 1, "concurrent": 1},
    }
    document.update(sections)
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def what(history: History) -> list[Any]:
    """Return a history without times and process numbers."""
    return [
        (t.number, t.status, t.error, t.values, t.end_order, [(i, r.value) for i, r in sorted(t.reports.items())])
        for t in history.trials
    ]


def assert_same_search(one: Path, other: Path) -> None:
    """Two runs are equal except for times, process numbers and memory."""
    assert what(read_history(one / "study.journal")) == what(read_history(other / "study.journal"))
    first, second = (
        pq.read_table(folder / "trials.parquet").drop(["seconds", "peak_memory_bytes"]) for folder in (one, other)
    )
    assert first.equals(second)
    configs = [json.loads((folder / "best_config.json").read_text()) for folder in (one, other)]
    assert configs[0] == configs[1]


def test_a_killed_search_goes_on_as_if_it_had_not_been_killed(tmp_path: Path, command: Command) -> None:
    space, killed = space_file(tmp_path, search={"algorithm": "tpe", "trials": 6, "seed": 0}), tmp_path / "killed"
    process = signalled(signal.SIGKILL, WRITE, 14, "run", space, "--out", killed, *HERE)
    assert process.returncode == -signal.SIGKILL, process.stdout
    assert command("resume", killed, *HERE).code == 0
    assert command("run", space, "--out", tmp_path / "whole", *HERE).code == 0
    assert_same_search(killed, tmp_path / "whole")


def test_resume_takes_all_of_its_options(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def resume(folder: Path, **options: Any) -> None:
        given.update(options, folder=folder)
        raise WorkError("no search in this test")

    monkeypatch.setattr(driver, "resume", resume)
    words = ("--add-trials", "2", "--retry-failed", "--address", "head:6379", *HERE)
    assert command("resume", tmp_path, *words).code == 1
    options = {"add_trials": 2, "retry_failed": True, "address": "head:6379", "executor": "local"}
    assert {name: given[name] for name in ("folder", *options)} == {"folder": tmp_path, **options}


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    space = space_file(tmp_path)
    whole = raysearch("run", space, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    assert_only_our_lines(whole)
    assert "what a worker prints" in (tmp_path / "whole" / "raysearch.log").read_text()

    killed = tmp_path / "killed"
    rng = random.Random(0)
    for words in (("run", space, "--out", killed), ("resume", killed)):
        call, delay_s = rng.randint(4, 14), rng.uniform(0.0, 0.3)
        process = signalled(signal.SIGKILL, WRITE, call, *words, delay_s=delay_s)
        assert process.returncode == -signal.SIGKILL, process.stdout
    resumed = raysearch("resume", killed)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_search(killed, tmp_path / "whole")


def assert_only_our_lines(done: subprocess.CompletedProcess[str]) -> None:
    """What Ray, libraries and workers say is in the log of the run."""
    assert done.stderr == ""
    names = r"note|search|images|run folder|dashboard|(best|default) \w+|best config|checkpoint|shared|tables|report"
    ours = rf"({names}): .*|trial +\d+ .*|"
    assert [line for line in done.stdout.splitlines() if not re.fullmatch(ours, line)] == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_search_saves_everything_and_waits_for_no_step(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out, space = tmp_path / "run", space_file(tmp_path, config={"pause": 86_400.0, "pause_from": 3})
    process = signalled(number, WRITE, 4, "run", space, "--out", out, delay_s=1.0)
    output = process.stdout
    assert process.returncode == code, output
    assert "everything is saved" in output
    assert f"raysearch resume {out}" in output
    assert "Traceback" not in output
    assert pq.read_table(out / "trials.parquet").column("status").to_pylist()[-1] == "running"
    assert (out / "best_config.json").exists()


@pytest.mark.parametrize(
    ("sections", "words", "message"),
    [
        ({"space": {}}, [], "space"),
        ({"space": {"x": {"type": "float", "low": 0.0, "high": 1.0, "log": True}}}, [], "log"),
        ({"trainable": "nothing.py:Nothing"}, [], "nothing.py"),
        ({}, ["--set", "search.trails=3"], "trials"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    tmp_path: Path, command: Command, sections: dict[str, Any], words: list[str], message: str
) -> None:
    done = command("run", space_file(tmp_path, **sections), "--out", tmp_path / "run", *words)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_resources_that_no_node_has_are_wrong_input(tmp_path: Path, command: Command) -> None:
    done = command("run", space_file(tmp_path, resources={"cpu": 4096}), "--out", tmp_path / "run", *HERE)
    assert done.code == 2
    assert "no node has that" in done.err
    assert not (tmp_path / "run" / "trials.parquet").exists()


def test_a_training_is_interrupted_and_goes_on(tmp_path: Path, command: Command) -> None:
    small = {"backbone": "test_efficientnet", "head_channels": 8}
    train = {"max_iters": 80, "report_iters": 2, "batch_size": 2}
    (tmp_path / "config.json").write_text(json.dumps({"model": small, "train": train}))
    words = ("train", tmp_path / "config.json", "--out", tmp_path / "out")
    process = signalled(signal.SIGTERM, "raysearch.execution.standalone:write_reports", 2, *words)
    assert process.returncode == 143, process.stdout
    assert "Traceback" not in process.stdout
    again = command(*words)
    assert again.code == 0
    assert "continuing at iteration" in again.out
    rows = pq.read_table(tmp_path / "out" / "results.parquet").column("iteration").to_pylist()
    assert rows == list(range(2, 81, 2))


def test_a_class_that_is_no_trainable_is_refused(tmp_path: Path, command: Command) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    done = command("check", space_file(tmp_path, trainable="mine.py:Mine"))
    assert done.code == 2
    assert "is not a subclass of ray.tune.Trainable" in done.err


def test_a_search_in_which_nothing_works_exits_with_1(tmp_path: Path, command: Command) -> None:
    space = space_file(tmp_path, config={"ends": "memory in setup"}, search={"trials": 2, "algorithm": "random"})
    done = command("run", space, "--out", tmp_path / "run", *HERE)
    assert done.code == 1
    assert "no trial reported score" in done.err
    assert pq.read_table(tmp_path / "run" / "trials.parquet").column("status").to_pylist() == ["infeasible"] * 2


def test_the_default_trainable_from_space_file_to_trained_config(tmp_path: Path, command: Command) -> None:
    """Search, export, training and evaluation agree to the last digit."""
    tiny = {
        "data": {"drawn": {"num_train": 8, "num_val": 4, "size": [48, 64]}, "augmentation": {"crop_size": [32, 32]}},
        "contrast": {"proj_dim": 8, "memory": True, "memory_size": 50},
        "train": {"max_iters": 8, "report_iters": 2, "batch_size": 2, "shared_iters": 3},
    }
    (tmp_path / "config.json").write_text(json.dumps(tiny))
    (tmp_path / "space.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "tiny",
                "config": "config.json",
                "space": {
                    "optim.lr": {"type": "float", "low": "1e-3", "high": 1e-1, "log": True},
                    "optim.poly_power": {"type": "float", "low": 0.5, "high": 1.0},
                },
                "objective": {"metric": "miou", "mode": "max"},
                "search": {"algorithm": "tpe", "trials": 5},
                "scheduler": {"name": "asha", "grace_iters": 4, "reduction_factor": 2},
                "resources": {"cpu": 1, "concurrent": 1},
            }
        )
    )
    run = tmp_path / "run"
    done = raysearch("run", tmp_path / "space.yaml", "--out", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_only_our_lines(done)
    for promised in ("best miou:", "default miou:", "best config:", "checkpoint:", "tables:", "dashboard:"):
        assert promised in done.stdout

    best = json.loads((run / "best_config.json").read_text())
    block = best["raysearch"]
    assert best["train"]["num_threads"] == block["num_threads"] == 1
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    assert (trials[0]["optim.lr"], trials[0]["status"]) == (0.01, "completed")
    assert trials[block["trial"]]["value"] == block["value"] == max(row["value"] for row in trials)
    assert [row["iterations_shared"] for row in trials] == [0, 3, 3, 3, 3]
    assert not (run / "shared").exists(), "the search has finished"
    assert f"shared:      12 of {sum(row['iterations'] for row in trials)} iterations" in done.stdout

    assert json.loads(command("export", run).out) == best

    # Every trial of the one reused actor equals the same config trained by itself, the last one in a new process.
    table = pq.read_table(run / "results.parquet")
    expected = {
        "trial",
        "iteration",
        "value",
        "iou",
        "lr",
        "contrast_active",
        "contrast_grad_norm",
        "images_per_second",
    }
    assert expected <= set(table.column_names)
    assert not any("config" in name for name in table.column_names)
    results = table.to_pylist()
    for number in sorted({block["trial"], 0, len(trials) - 1}):
        pairs = [
            "optim.lr",
            str(trials[number]["optim.lr"]),
            "optim.poly_power",
            str(trials[number]["optim.poly_power"]),
        ]
        words = ["train", str(run / "best_config.json"), *pairs, "--out", str(tmp_path / f"train-{number}")]
        if number == len(trials) - 1:
            trained = raysearch(*words)
            assert trained.returncode == 0, trained.stdout + trained.stderr
        else:
            assert command(*words).code == 0
        again = {
            row["iteration"]: row for row in pq.read_table(tmp_path / f"train-{number}" / "results.parquet").to_pylist()
        }
        for row in (row for row in results if row["trial"] == number):
            for name in ("value", "loss", "loss_contrast", "contrast_grad_norm", "lr"):
                assert again[row["iteration"]][name] == row[name], (number, row["iteration"], name)

    scored = command("evaluate", run / "best_config.json", "--checkpoint", run / "best_checkpoint")
    assert f"mIoU {block['value']:.6f}" in scored.out


DEMO = REPOSITORY / "search_spaces" / "demo.yaml"


def test_check_finds_what_run_would(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "measure", lambda spec, configs, **_: [NotMeasured("", is_fault=False)] * len(configs))
    done = command("check", DEMO)
    assert done.code == 0, done.err
    assert "nothing wrong was found" in done.out
    wrong = command("check", DEMO, "--set", f"config.data.dir={tmp_path / 'nowhere'}")
    assert wrong.code == 2
    assert "nowhere" in wrong.err


@pytest.mark.slow
def test_check_measures_the_demo() -> None:
    done = raysearch("check", DEMO)
    assert done.returncode == 0, done.stderr
    assert "nothing wrong was found" in done.stdout
    assert done.stderr == ""
    assert "not measured" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [("check",), ("report",), ("train",), ("export",), ("convert",), ("data", "inspect")],
    ids=lambda words: words[-1],
)
def test_a_path_that_is_too_long_is_wrong_input(words: tuple[str, ...], command: Command) -> None:
    ended = command(*words, "a" * 5000)
    assert ended.code == 2
    assert "longer than a path may be here; check the path" in " ".join(ended.err.split())
