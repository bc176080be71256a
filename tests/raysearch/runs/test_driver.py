"""Tests of real searches on a real local Ray."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import raysearch
from raysearch.errors import InputError, WorkError
from raysearch.history.history import History, read_history
from raysearch.history.run_dir import RunDir
from raysearch.runs import driver
from raysearch.runs.outcome import SearchResult
from raysearch.space.parsing import load_space, parse_space
from tests.raysearch.runs.test_local import values
from tests.raysearch.toy import facts

HERE = Path(__file__).parents[1]
REPOSITORY = HERE.parents[1]


pytestmark = pytest.mark.usefixtures("local_ray")


def search(out: Path, trainable: str, space: dict[str, Any], **sections: Any) -> tuple[SearchResult, History]:
    document = {
        "name": "test",
        "trainable": f"trials.py:{trainable}",
        "space": space,
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 6, "seed": 0},
        "scheduler": ASHA,
        "resources": {"cpu": 1, "concurrent": 1},
    }
    document.update(sections)
    result = driver.run(parse_space(document, HERE), out, say=lambda line: None)
    return result, read_history(out / "study.journal")


ASHA = {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8}
X = {"x": {"type": "float", "low": 0.0, "high": 1.0}}


def test_a_search_leaves_tables_config_and_checkpoint(tmp_path: Path) -> None:
    result, history = search(tmp_path / "run", "Curve", X)
    assert result.finished
    assert result.num_trials == 6
    assert {t.status for t in history.trials} == {"completed", "stopped"}

    trials = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()
    assert [row["trial"] for row in trials] == list(range(6))
    assert [row["x"] for row in trials] == [t.values["x"] for t in history.trials]
    best = max(trials, key=lambda row: row["value"])
    assert best["value"] == result.best_value == pytest.approx(1 - best["x"] - 1 / 8)
    assert (best["status"], best["iterations"], best["best_iteration"]) == ("completed", 8, 8)
    assert best["seconds"] > 0
    assert best["peak_memory_bytes"] > 1e7
    assert best["error"] is None

    results = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert len(results) == sum(row["iterations"] for row in trials)
    assert len({(row["trial"], row["iteration"]) for row in results}) == len(results)
    assert results[0]["extra"] == 1.0
    assert results[0]["curve"] == [1.0, 2.0]

    config = json.loads((tmp_path / "run" / "best_config.json").read_text())
    assert config["x"] == best["x"]
    block = config["raysearch"]
    assert (block["metric"], block["trial"], block["iteration"]) == ("score", best["trial"], 8)
    assert block["value"] == best["value"]
    assert (tmp_path / "run" / "best_checkpoint").is_dir()
    kept = [sorted(p.name for p in folder.iterdir()) for folder in sorted((tmp_path / "run" / "trials").iterdir())]
    assert all(len(names) == 1 for names in kept), "the best checkpoint alone remains"


def test_the_local_executor_records_the_same_search(tmp_path: Path) -> None:
    search(tmp_path / "ray", "Curve", X)
    driver.resume(tmp_path / "ray", add_trials=2, say=lambda line: None)
    spec = load_space(tmp_path / "ray" / "space.yaml")
    driver.run(spec, tmp_path / "local", executor="local", say=lambda line: None)
    driver.resume(tmp_path / "local", add_trials=2, executor="local", say=lambda line: None)
    on_ray, here = (read_history(tmp_path / name / "study.journal") for name in ("ray", "local"))
    assert values(here) == values(on_ray)


def test_one_actor_runs_all_trials_and_nothing_crosses_from_one_to_the_next(tmp_path: Path) -> None:
    _, history = search(tmp_path / "a", "Curve", X, scheduler={"name": "none", "max_iters": 3})
    workers = {report.metrics["worker"] for trial in history.trials for report in trial.reports.values()}
    assert len(workers) == 1
    objective = {"metric": "loss", "mode": "min"}
    scheduler = {"name": "asha", "grace_iters": 10, "max_iters": 60}
    _, history = search(tmp_path / "b", "Folder", X, objective=objective, scheduler=scheduler)
    assert {t.status for t in history.trials} == {"completed", "stopped"}
    assert [t.error for t in history.trials] == [None] * 6
    draws = {report.metrics["draw"] for trial in history.trials for report in trial.reports.values()}
    assert len(draws) == 1, "every trial finds the same random state"
    assert history.trials[0].is_default
    assert sorted(history.trials[0].reports) == [10, 20, 30, 40, 50, 60]


ENDINGS = {
    "memory": ("infeasible", "out of memory: no room for the batch"),
    "memory in setup": ("infeasible", "out of memory: no room for the model"),
    "nan": ("infeasible", "score is nan at iteration 3"),
    "diverged": ("infeasible", "the loss is inf at iteration 3"),
    "error": ("failed", 'KeyError: "a bug of the user\'s"'),
    "other config": ("failed", "x: given"),
    "no metric": ("failed", "it reported no score, only accuracy"),
    "killed always": ("failed", "its worker died 3 times"),
}


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> RunDir:
    """A search with one trial for every ending, and one that ends well after them."""
    out = tmp_path_factory.mktemp("endings") / "run"
    space = {"ends": {"type": "categorical", "choices": [*ENDINGS, "well"]}}
    trials = {"algorithm": "grid", "trials": len(ENDINGS) + 1}
    search(out, "Curve", space, config={"x": 0.5}, search=trials)
    return RunDir.open(out)


@pytest.mark.parametrize("ends", ENDINGS)
def test_every_ending(endings: RunDir, ends: str) -> None:
    trial = read_history(endings.journal).trials[list(ENDINGS).index(ends)]
    assert trial.values["ends"] == ends
    status, error = ENDINGS[ends]
    assert trial.status == status
    assert error in (trial.error or "")
    assert len(trial.reports) == (0 if ends == "memory in setup" else 2)


def test_after_every_ending_the_search_goes_on(endings: RunDir) -> None:
    history = read_history(endings.journal)
    last = history.trials[-1]
    assert (last.values["ends"], last.status, last.error) == ("well", "completed", None)
    assert history.best_trial() is last
    log = endings.log.read_text()
    assert log.count("Traceback") == log.count('raise KeyError("a bug') == 1, "that of the user's bug alone"


def test_a_killed_worker_costs_one_report(tmp_path: Path) -> None:
    space = {"ends": {"type": "categorical", "choices": ["killed once"]}}
    config = {"x": 0.5, "marker": str(tmp_path / "marker")}
    _, history = search(
        tmp_path / "run", "Curve", space, config=config, search={"algorithm": "grid", "trials": 1, "seed": 0}
    )
    trial = history.trials[0]
    assert trial.status == "completed"
    assert trial.workers_lost == 1
    assert sorted(trial.reports) == list(range(1, 9))
    assert [report.metrics["extra"] for _, report in sorted(trial.reports.items())] == [float(t) for t in range(1, 9)]


def test_a_full_disk_halts_the_search_and_loses_nothing(tmp_path: Path) -> None:
    space = {"ends": {"type": "categorical", "choices": ["disk full once"]}}
    config = {"x": 0.5, "marker": str(tmp_path / "marker")}
    one = {"algorithm": "grid", "trials": 1}
    with pytest.raises(
        WorkError, match=r"No space left on device; nothing .* is lost; free some disk space, then continue with"
    ):
        search(tmp_path / "run", "Curve", space, config=config, search=one)
    trial = read_history(tmp_path / "run" / "study.journal").trials[0]
    assert (trial.status, sorted(trial.reports)) == ("running", [1, 2])
    assert driver.resume(tmp_path / "run", say=lambda line: None).finished
    trial = read_history(tmp_path / "run" / "study.journal").trials[0]
    assert (trial.status, sorted(trial.reports)) == ("completed", list(range(1, 9)))


def test_functions(tmp_path: Path) -> None:
    _, history = search(tmp_path / "a", "function", X, scheduler={"name": "asha", "grace_iters": 1, "max_iters": 9})
    assert {t.status for t in history.trials} == {"completed", "stopped"}
    assert max(len(t.reports) for t in history.trials) == 5
    config = {"marker": str(tmp_path / "marker")}
    one = {"algorithm": "random", "trials": 1, "seed": 0}
    none = {"name": "none", "max_iters": 9}
    _, history = search(tmp_path / "b", "function_with_checkpoint", X, config=config, search=one, scheduler=none)
    trial = history.trials[0]
    assert (trial.status, trial.workers_lost) == ("completed", 1)
    assert [r.value - trial.values["x"] for _, r in sorted(trial.reports.items())] == pytest.approx([1, 2, 3, 4, 5])
    _, history = search(tmp_path / "c", "silent", X, search=one, scheduler=none)
    assert history.trials[0].status == "failed"
    assert "without reporting score" in (history.trials[0].error or "")


def test_a_function_out_of_memory_leaves_the_worker_usable(tmp_path: Path) -> None:
    grid = {"x": {"type": "categorical", "choices": [0.6, 0.2, 0.7, 0.3]}}
    none = {"name": "none", "max_iters": 9}
    _, history = search(
        tmp_path / "run", "hungry_function", grid, search={"algorithm": "grid", "trials": 4}, scheduler=none
    )
    assert [t.status for t in history.trials] == ["infeasible", "completed", "infeasible", "completed"]
    assert [t.workers_lost for t in history.trials] == [0] * 4


def test_fewer_trials_side_by_side_than_asked_for_are_told(tmp_path: Path) -> None:
    document = {
        "trainable": "trials.py:Curve",
        "space": {"x": {"type": "categorical", "choices": [0.2, 0.4]}},
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 4},
        "scheduler": {"name": "none", "max_iters": 2},
        "resources": {"cpu": 1, "concurrent": 9},
    }
    said: list[str] = []
    result = driver.run(parse_space(document, HERE), tmp_path / "run", say=said.append)
    assert "note: resources.concurrent is 9, but only 2 trials fit at a time by resources.cpu and resources.gpu" in said
    (line,) = [line for line in said if line.startswith("search:")]
    assert "2 trials instead of 4, because the space has no more configs" in line
    assert result.num_trials == 2


def test_resources_that_no_node_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no node has that"):
        search(tmp_path / "run", "Curve", X, resources={"cpu": 64})


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        search(tmp_path, "Curve", X)


def test_extending_and_resuming_a_finished_search(tmp_path: Path) -> None:
    _, long = search(tmp_path / "long", "Curve", X)
    four = {"algorithm": "random", "trials": 4, "seed": 0}
    _, short = search(tmp_path / "short", "Curve", X, search=four)
    assert len(short.trials) == 4
    said: list[str] = []
    assert driver.resume(tmp_path / "short", say=said.append).finished
    assert any("has finished" in line for line in said)
    driver.resume(tmp_path / "short", add_trials=2, say=said.append)
    longer = read_history(tmp_path / "short" / "study.journal")
    assert [t.values for t in longer.trials] == [t.values for t in long.trials]
    assert [t.status for t in longer.trials] == [t.status for t in long.trials]


@pytest.mark.slow
def test_the_python_call_takes_a_space_file(tmp_path: Path) -> None:
    result = raysearch.run(REPOSITORY / "search_spaces" / "quadratic.yaml", tmp_path / "run")
    assert result.finished
    assert result.metric == "loss"
    assert result.default_value is None, "a trainable without a Config has no default"
    best = json.loads((tmp_path / "run" / "best_config.json").read_text())
    assert best["raysearch"]["value"] == result.best_value
    rows = pq.read_table(tmp_path / "run" / "trials.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"completed", "stopped"}
    assert all((row["momentum"] is not None) == (row["method"] == "momentum") for row in rows)


def test_two_at_once(tmp_path: Path) -> None:
    four, meeting = {"algorithm": "random", "trials": 4, "seed": 0}, {"meeting": str(tmp_path / "meeting")}
    _, history = search(tmp_path / "run", "Curve", X, search=four, config=meeting, resources={"concurrent": "auto"})
    assert len(history.trials) == 4
    workers = {report.metrics["worker"] for trial in history.trials for report in trial.reports.values()}
    assert len(workers) == 2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_search_at_concurrency_1(tmp_path: Path) -> None:
    tpe = {"algorithm": "tpe", "trials": 14, "seed": 5}
    _, first = search(tmp_path / "a", "Curve", X, search=tpe)
    _, second = search(tmp_path / "b", "Curve", X, search=tpe)

    def what(history: History) -> list[Any]:
        return [
            (number, status, error, values, order, [(i, r.value) for i, r in reports])
            for number, status, error, values, _, _, order, reports in facts(history)
        ]

    assert what(first) == what(second)


PROMOTION: dict[str, Any] = {
    "search": {"algorithm": "random", "trials": 8, "seed": 0},
    "scheduler": {**ASHA, "form": "promotion", "audit_fraction": 0},
}


def test_paused_trials_free_their_worker_and_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    _, history = search(tmp_path / "run", "Curve", X, **PROMOTION)
    lines = [json.loads(line) for line in (tmp_path / "run" / "study.journal").read_text().splitlines()]
    taken_up = [line["trial_id"] for line in lines if line.get("user_attr", {}).get("paused") is False]
    assert taken_up
    assert {t.status for t in history.trials} == {"completed", "stopped"}
    for trial in history.trials:
        reports = [line["step"] for line in lines if line["op_code"] == 7 and line["trial_id"] == trial.number]
        assert reports == list(range(1, len(reports) + 1)), "no report twice: it went on from its last checkpoint"
        assert [r.metrics["extra"] for _, r in sorted(trial.reports.items())] == reports
    ranked = sorted(history.trials, key=lambda t: t.values["x"])
    assert ranked[0].status == "completed", "the best ran to the full budget"
    assert {len(list(folder.iterdir())) for folder in (tmp_path / "run" / "trials").iterdir()} == {1}


@pytest.mark.slow
def test_paused_trials_at_two_at_once(tmp_path: Path) -> None:
    _, history = search(tmp_path / "run", "Curve", X, **PROMOTION, resources={"concurrent": 2})
    assert {t.status for t in history.trials} == {"completed", "stopped"}


def test_the_first_rung_is_said_once_it_is_found(tmp_path: Path) -> None:
    document = {
        "name": "test",
        "trainable": "trials.py:Curve",
        "space": X,
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 10, "seed": 0},
        "scheduler": {**ASHA, "grace_iters": "auto", "audit_fraction": 0},
        "resources": {"cpu": 1, "concurrent": 1},
    }
    said: list[str] = []
    driver.run(parse_space(document, HERE), tmp_path / "run", say=said.append)
    line = "early stopping begins: from iteration 2 on, the scores of 6 full trials predict their final order"
    assert said.count(line) == 1
    ended = [index for index, text in enumerate(said) if text.startswith("trial ")]
    assert ended[5] < said.index(line) < ended[6]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_trials_share_a_gpu(tmp_path: Path) -> None:
    document = {
        "name": "gpu",
        "config": {"train": {"max_iters": 20, "report_iters": 10, "precision": "bf16", "device": "cuda"}},
        "space": {"optim.lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True}},
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"trials": 3},
        "scheduler": {"name": "none"},
        "resources": {"cpu": 1, "gpu": 0.5, "concurrent": 2},
    }
    result = driver.run(parse_space(document, HERE), tmp_path / "run", say=lambda line: None)
    history = read_history(tmp_path / "run" / "study.journal")
    assert result.num_trials == 3
    assert [t.status for t in history.trials] == ["completed"] * 3
    first, second = history.trials[:2]
    assert first.ended is not None
    assert second.started < first.ended, "two at once"
