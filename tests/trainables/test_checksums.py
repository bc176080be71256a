from pathlib import Path

import pytest

from trainables.checksums import CHECKSUMS_FILE, damage, write_checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "model.pt").write_bytes(b"weights" * 1000)
    (tmp_path / "below" / "state.json").write_text("{}")
    write_checksums(tmp_path)
    return tmp_path


def test_a_folder_as_it_was_written_is_not_damaged(folder: Path) -> None:
    assert damage(folder) is None
    (folder / "notes.txt").write_text("written later")
    assert damage(folder) is None


def test_every_damage_is_named(folder: Path) -> None:
    model, state = folder / "model.pt", folder / "below" / "state.json"
    whole = model.read_bytes()
    for damaged in (whole[:-1], b"", bytes([whole[0] ^ 1]) + whole[1:]):
        model.write_bytes(damaged)
        assert damage(folder) == "model.pt has changed since it was written"
    model.write_bytes(whole)
    state.unlink()
    assert damage(folder) == "has no below/state.json"
    state.write_text("{}")
    assert damage(folder) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model.pt": [1, 2]}', "\xff"])
def test_damaged_checksums_are_damage(folder: Path, content: str) -> None:
    (folder / CHECKSUMS_FILE).write_text(content, encoding="latin-1")
    assert damage(folder) is not None


def test_a_folder_without_checksums_is_believed_and_a_missing_one_is_not(folder: Path) -> None:
    (folder / CHECKSUMS_FILE).unlink()
    assert damage(folder) is None
    assert damage(folder / "missing") == "is gone"
