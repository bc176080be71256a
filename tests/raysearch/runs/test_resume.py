"""Tests of the checks before a resume, and of the end of a failed search; without Ray."""

from pathlib import Path
from typing import Any

import pytest

from raysearch.config.trust import trust
from raysearch.errors import InputError, WorkError
from raysearch.history.events import Ended, Report
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.results.export import best_config_text, best_in_dialect
from raysearch.runs import driver
from raysearch.runs.outcome import search_result
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

CONFIG: dict[str, Any] = {
    "data": {"drawn": {"num_train": 4, "num_val": 2, "size": [32, 32]}, "augmentation": {"crop_size": [32, 32]}},
    "model": {"backbone": "test_efficientnet"},
    "train": {"max_iters": 4, "report_iters": 2, "batch_size": 2},
}
UNMOUNTED = {**CONFIG, "data": {"dir": "unmounted", "augmentation": CONFIG["data"]["augmentation"]}}
"""A config whose data are gone."""


def begun(folder: Path, endings: list[str | None], **sections: Any) -> tuple[RunDir, SearchSpec]:
    """Return a run whose trials ended with these errors, None meaning completed; one more trial is running."""
    document = {
        "name": "x",
        "config": CONFIG,
        "space": {"optim.lr": {"type": "float", "low": 0.01, "high": 0.1}},
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"algorithm": "random", "trials": 4},
        "scheduler": {"name": "none"},
        **sections,
    }
    spec = parse_space(document, folder)
    run_dir = RunDir.create("x", folder / "run")
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        for number, error in enumerate(endings):
            assert search.propose() is not None
            if error is None:
                report: dict[str, Any] = {"value": 0.5, "metrics": {}, "checkpoint": None, "seconds": 1.0, "done": True}
                search.take(number, Report(iteration=4, **report))
            else:
                search.take(number, Ended("failed", error))
        if len(endings) < spec.search.trials:
            search.propose()
    return run_dir, spec


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("words", [{}, {"add_trials": 2}, {"retry_failed": True}])
def test_resume_looks_at_data_and_weights_first(tmp_path: Path, words: dict[str, Any]) -> None:
    config = {**UNMOUNTED, "model": {**CONFIG["model"], "weights": "absent.pth"}}
    run_dir, _ = begun(tmp_path, ["no data"] if words == {} else ["no data"] * 4, config=config)
    before = contents(run_dir.root)
    with pytest.raises(InputError) as caught:
        driver.resume(run_dir.root, say=lambda line: None, **words)
    faults = [str(fault) for fault in caught.value.faults]
    assert any("unmounted" in fault for fault in faults), faults
    assert any("absent.pth" in fault for fault in faults), faults
    assert contents(run_dir.root) == before, "nothing was written"


def test_resume_misses_a_trainable_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(config): ...\n")
    sections = {"trainable": "mine.py:f", "config": {}, "scheduler": {"name": "none", "max_iters": 4}}
    run_dir, _ = begun(tmp_path, ["no data"], **sections)
    trust(["mine.py:f"], tmp_path)
    (tmp_path / "mine.py").unlink()
    before = contents(run_dir.root)
    with pytest.raises(InputError, match=r"there is no file .*mine\.py"):
        driver.resume(run_dir.root, say=lambda line: None)
    assert contents(run_dir.root) == before


def test_a_run_folder_that_cannot_be_written_is_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, _ = begun(tmp_path, ["no data"])

    def read_only(path: Any, *_: Any) -> int:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("raysearch.history.journal.os.open", read_only)
    with pytest.raises(InputError, match=r"study\.journal: cannot be opened for writing \(Read-only file system\)"):
        driver.resume(run_dir.root, say=lambda line: None)


def test_a_finished_search_needs_no_data(tmp_path: Path) -> None:
    run_dir, _ = begun(tmp_path, [None] * 4, config=UNMOUNTED)
    said: list[str] = []
    for retry_failed in (False, True):
        assert driver.resume(run_dir.root, say=said.append, retry_failed=retry_failed).finished
        assert "has finished" in said[0]


def test_a_full_disk_at_the_end_is_told_with_the_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, _ = begun(tmp_path, [None, None, "no data", None])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raysearch.runs.driver.write_outcome", full)
    with pytest.raises(WorkError) as caught:
        driver.resume(run_dir.root, say=lambda line: None)
    assert str(caught.value) == (
        f"{run_dir.root}: No space left on device; nothing reported so far is lost; free some disk space, then "
        f"continue with `raysearch resume {run_dir.root}`; `--retry-failed` runs the trials that failed again"
    )


@pytest.mark.parametrize(
    ("endings", "message"),
    [
        ([None, None, "a", "b"], None),
        ([None, "a", "a", "b"], "3 of 4 trials failed, 2 of them with a; "),
        (["a", "a", "a", "a"], "4 of 4 trials failed, with a; "),
    ],
)
def test_a_search_that_mostly_failed_says_so(tmp_path: Path, endings: list[str | None], message: str | None) -> None:
    run_dir, spec = begun(tmp_path, endings)
    told = search_result(Run(run_dir, spec, read_history(run_dir.journal)), None).mostly_failed
    if message is None:
        assert told is None
        return
    assert told is not None
    assert told.startswith(message)
    assert told.endswith(f"run them again with `raysearch resume {run_dir.root} --retry-failed`")
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        for _ in search.retry_failed():
            proposal = search.propose()
            assert proposal is not None
            report: dict[str, Any] = {"value": 0.5, "metrics": {}, "checkpoint": None, "seconds": 1.0, "done": True}
            search.take(proposal.number, Report(iteration=4, **report))
    assert search_result(Run(run_dir, spec, read_history(run_dir.journal)), None).mostly_failed is None


def test_export_of_a_search_in_which_everything_failed_does_not_say_wait(tmp_path: Path) -> None:
    run_dir, _ = begun(tmp_path, ["no data"] * 4)
    for export in (best_config_text, lambda run_dir: best_in_dialect(run_dir, "openseg")):
        with pytest.raises(InputError) as caught:
            export(run_dir)
        (fault,) = caught.value.faults
        assert fault.what == "no trial has a score, and the search has finished (4 failed)"
        assert fault.fix.endswith(f"`raysearch resume {run_dir.root} --retry-failed`")


def test_export_before_the_first_report_says_wait(tmp_path: Path) -> None:
    run_dir, _ = begun(tmp_path, [])
    with pytest.raises(InputError, match="no trial has reported yet; wait for the first report"):
        best_config_text(run_dir)
