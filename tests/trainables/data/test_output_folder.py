import os
from pathlib import Path

import pytest

from trainables.data.output_folder import new_folder, place
from trainables.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_text("original")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("there", ["absent", "empty", "below absent"])
def test_becomes_the_destination_at_the_end(there: str, source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "new" / "out" if there == "below absent" else tmp_path / "out 出"
    if there == "empty":
        destination.mkdir()
    with new_folder(destination, source) as folder:
        (folder / "written").write_text("x")
        assert not (destination / "written").exists()
    assert contents(destination) == {"written": "x"}
    assert [path.name for path in destination.parent.iterdir() if path.name.startswith(".")] == []
    assert destination.stat().st_mode & 0o777 == source.stat().st_mode & 0o777


@pytest.mark.parametrize("ending", [KeyboardInterrupt, InputError, OSError, SystemExit])
def test_leaves_nothing_however_it_ends(ending: type[BaseException], source: Path, tmp_path: Path) -> None:
    def write_half() -> None:
        with new_folder(tmp_path / "a" / "b" / "out", source) as folder:
            (folder / "half").write_text("x")
            raise ending(["fault"])

    before = contents(tmp_path)
    with pytest.raises(ending):
        write_half()
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("where", ["itself", "inside", "by a link", "a file", "not empty"])
def test_refuses_to_write_over_anything(where: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").write_text("x")
    destination = {
        "itself": source,
        "inside": source / "deep" / "out",
        "by a link": tmp_path / "link" / "out",
        "a file": source / ".." / "full" / ".hidden",
        "not empty": tmp_path / "full",
    }[where]
    before = contents(tmp_path)
    with pytest.raises(InputError), new_folder(destination, source):
        raise AssertionError("must not be entered")
    assert contents(tmp_path) == before


def test_places_copies_and_links(source: Path, tmp_path: Path) -> None:
    place(source / "file", tmp_path / "copy", link=False)
    place(source / "file", tmp_path / "link", link=True)
    assert (tmp_path / "copy").read_text() == "original"
    assert os.path.samefile(source / "file", tmp_path / "link")
    assert not os.path.samefile(source / "file", tmp_path / "copy")


def test_a_link_that_the_system_refuses_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match=r"Invalid cross-device link.*leave out --link"):
        place(source / "file", tmp_path / "link", link=True)
