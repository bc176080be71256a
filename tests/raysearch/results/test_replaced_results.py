"""Tests that a kill during the replacement of results loses none of them."""

import shutil
from pathlib import Path

from raysearch.results import export
from tests.trainables.kills import killed_at_every_call
from trainables.atomic_files import recover_folder


def checkpoint(folder: Path, text: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("model.pt", "trainer.pt"):
        (folder / name).write_text(text)
    return folder


def test_the_best_checkpoint_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    source, target, found = checkpoint(tmp_path / "source", "new"), tmp_path / "best_checkpoint", []

    def replace() -> None:
        export._replace_folder(source, target, frozenset({"trainer.pt"}))

    for _ in killed_at_every_call(replace, lambda: checkpoint(target, "old")):
        recover_folder(target)
        found.append((target / "model.pt").read_text())
    assert (found[0], found[-1], set(found)) == ("old", "new", {"old", "new"})
    assert not (target / "trainer.pt").exists()


def test_the_old_one_comes_back_even_where_there_is_no_new_one(tmp_path: Path) -> None:
    checkpoint(tmp_path / ".best_checkpoint.before", "old")
    export._replace_folder(tmp_path / "gone", tmp_path / "best_checkpoint", frozenset())
    assert (tmp_path / "best_checkpoint" / "model.pt").read_text() == "old"
