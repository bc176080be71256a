"""Tests of the folder of a run: nothing outside of it is written, deleted or copied into it."""

from pathlib import Path

import pytest

from raysearch.errors import InputError
from raysearch.history.run_dir import RunDir
from raysearch.runs import driver
from raysearch.search.run import Run
from tests.raysearch.toy import run_search, toy_spec


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    made = RunDir.create("toy", tmp_path / "run")
    spec = toy_spec(tmp_path)
    made.space.write_text(spec.to_yaml())
    run_search(spec, made.journal)
    return made


@pytest.mark.parametrize(
    "place", ["trials", "trials/00003", "trials/00003/checkpoint-00000002", "pareto", "report.html"]
)
def test_a_link_out_of_the_folder_is_refused(place: str, run_dir: RunDir, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "folder").mkdir(parents=True)
    (own / "folder" / "precious").touch()
    if place == "trials":
        run_dir.trials.rmdir()
    (run_dir.root / place).parent.mkdir(parents=True, exist_ok=True)
    (run_dir.root / place).symlink_to(own)
    for use in (Run.open, lambda folder: driver.resume(folder, executor="local", say=lambda line: None)):
        with pytest.raises(InputError, match=rf"{place}: is a symbolic link"):
            use(run_dir.root)
    assert (own / "folder" / "precious").exists()


def test_the_folder_itself_may_be_reached_by_a_link_and_others_may_keep_theirs(run_dir: RunDir, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run_dir.root)
    (run_dir.root / "wandb").mkdir()
    (run_dir.root / "wandb" / "latest-run").symlink_to("offline-run-1")
    assert len(Run.open(tmp_path / "link").history.trials) == 24


@pytest.mark.parametrize("name", ["../../../own", "/etc", "..", "a/b", ""])
def test_a_checkpoint_lies_in_the_folder_of_its_trial(name: str, run_dir: RunDir) -> None:
    with pytest.raises(InputError, match=r"study\.journal: names '.*' as a checkpoint of trial 3"):
        run_dir.checkpoint(3, name)
    assert run_dir.checkpoint(3, "checkpoint-00000002").parent == run_dir.trial(3)
