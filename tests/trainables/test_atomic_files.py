import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.kills import killed_at_every_call
from trainables.atomic_files import put_folder, recover_folder, replaced_file, replaced_folder, write_text

OLD, NEW = {"a": "old", "sub/b": "old"}, {"a": "new", "sub/c": "new"}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def content(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def replace_folder(folder: Path) -> None:
    with replaced_folder(folder) as part:
        fill(part, NEW)


class TestFile:
    def test_after_a_kill_it_is_the_old_or_the_new_one(self, tmp_path: Path) -> None:
        file, found = tmp_path / "file", []
        for _ in killed_at_every_call(lambda: write_text(file, "new"), lambda: file.write_text("old")):
            found.append(file.read_text())
        assert found[0] == "old"
        assert found[-1] == "new"
        assert set(found) == {"old", "new"}
        assert os.listdir(tmp_path) == ["file"]

    def test_an_exception_leaves_the_old_one_and_nothing_beside_it(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("old")

        def fail() -> None:
            with replaced_file(file) as part:
                part.write_text("half")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert (file.read_text(), os.listdir(tmp_path)) == ("old", ["file"])


class TestFolder:
    def test_after_a_kill_it_is_the_old_or_the_new_one(self, tmp_path: Path) -> None:
        folder, found = tmp_path / "folder", []

        def prepare() -> None:
            for path in tmp_path.iterdir():
                shutil.rmtree(path)
            fill(folder, OLD)

        for _ in killed_at_every_call(lambda: replace_folder(folder), prepare):
            recover_folder(folder)
            found.append(content(folder))
            assert os.listdir(tmp_path) == ["folder"]
        assert len(found) > 8
        assert found[0] == OLD
        assert found[-1] == NEW
        assert all(one in (OLD, NEW) for one in found)

    def test_a_replacement_after_a_kill_is_whole_and_clears_up(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        fill(folder, OLD)
        for _ in killed_at_every_call(lambda: replace_folder(folder), lambda: None):
            replace_folder(folder)
            assert (content(folder), os.listdir(tmp_path)) == (NEW, ["folder"])

    def test_a_recovery_may_be_killed_too(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"

        def prepare() -> None:
            for path in tmp_path.iterdir():
                shutil.rmtree(path)
            fill(tmp_path / ".folder.before", OLD)
            fill(tmp_path / ".folder.part", NEW)

        for _ in killed_at_every_call(lambda: recover_folder(folder), prepare):
            recover_folder(folder)
            assert (content(folder), os.listdir(tmp_path)) == (OLD, ["folder"])

    @pytest.mark.parametrize("failing", [1, 2])
    def test_a_rename_that_fails_leaves_the_old_one(
        self, failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, rename, calls = tmp_path / "folder", Path.rename, []
        fill(folder, OLD)

        def failing_once(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == failing:
                raise OSError("no more names")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", failing_once)
        with pytest.raises(OSError, match="no more names"):
            replace_folder(folder)
        assert (content(folder), os.listdir(tmp_path)) == (OLD, ["folder"])

    def test_parents_are_made(self, tmp_path: Path) -> None:
        replace_folder(tmp_path / "a" / "b")
        assert content(tmp_path / "a" / "b") == NEW


class TestOrder:
    """Tests that new content is on disk before its name, and its name before the old content is removed."""

    @pytest.fixture
    def calls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        calls: list[str] = []

        def named(path: Any) -> str:
            return os.path.relpath(path, tmp_path)

        fsync, rename, replace, rmtree = os.fsync, os.rename, os.replace, shutil.rmtree
        monkeypatch.setattr(
            os, "fsync", lambda file: (calls.append(f"sync {named(os.readlink(f'/proc/self/fd/{file}'))}"), fsync(file))
        )
        for name, call in (("rename", rename), ("replace", replace)):
            monkeypatch.setattr(
                os, name, lambda old, new, call=call: (calls.append(f"rename {named(new)}"), call(old, new))
            )

        def delete(path: Path, **options: Any) -> None:
            if path.exists():
                calls.append(f"delete {named(path)}")
            rmtree(path, **options)

        monkeypatch.setattr(shutil, "rmtree", delete)
        return calls

    def test_of_a_file(self, calls: list[str], tmp_path: Path) -> None:
        write_text(tmp_path / "f", "new")
        assert calls == ["sync .f.part", "rename f", "sync ."]

    def test_of_a_folder(self, calls: list[str], tmp_path: Path) -> None:
        fill(tmp_path / "f", OLD)
        fill(tmp_path / ".f.part", NEW)
        put_folder(tmp_path / ".f.part", tmp_path / "f")
        synced = ["sync .f.part/sub/c", "sync .f.part/sub", "sync .f.part/a", "sync .f.part"]
        assert calls == [*synced, "rename .f.before", "rename f", "sync .", "delete .f.before"]
