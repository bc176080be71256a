import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.errors import InputError
from raysearch.history.events import Begun, Extended
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.history.records import lines_of


def test_a_torn_last_line_is_cut_on_opening_and_passed_over_in_reading(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append(lines_of(Begun("torn", "max", 5)))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"study_')

    assert read_history(path).target_trials == 5
    with Journal(path) as journal:
        assert path.read_bytes() == whole
        journal.append(lines_of(Extended(7)))
    assert read_history(path).target_trials == 7


def test_a_record_is_on_disk_before_it_is_acted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    fsync, synced = os.fsync, list[bytes]()

    def noted(file: int) -> None:
        assert os.path.samestat(os.fstat(file), path.stat())
        synced.append(path.read_bytes())
        fsync(file)

    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", noted)
        for event in (Begun("synced", "max", 5), Extended(7)):
            journal.append(lines_of(event))
            assert synced[-1] == path.read_bytes()
    assert len(synced) == 2


def test_what_a_killed_process_wrote_is_on_disk_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append(lines_of(Begun("killed", "max", 5)))
    fsync, synced = os.fsync, list[Path]()

    def noted(file: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{file}")))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    with Journal(path) as journal:
        assert synced == [path, tmp_path], "the file, and its name in the folder"
        assert len(list(journal.facts())) == 1


def test_a_journal_of_one_torn_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(b"x" * 200_000)
    with Journal(path):
        assert path.stat().st_size == 0


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with Journal(path):
        code = f"from raysearch.history.journal import Journal; from pathlib import Path; Journal(Path({str(path)!r}))"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another raysearch is running this search" in second.stderr
    Journal(path).close()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_text(json.dumps(lines_of(Begun("x", "max", 1))[0]) + "\nnot json\n")
    with pytest.raises(InputError, match=r"study\.journal: line 2"):
        read_history(path)


def test_a_full_disk_leaves_no_half_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    with Journal(path) as journal:
        journal.append(lines_of(Begun("full", "max", 5)))
        before = path.read_bytes()
        real_write, calls = os.write, []

        def write_half(file: int, data: bytes) -> int:
            calls.append(file)
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            return real_write(file, data[: len(data) // 2])

        monkeypatch.setattr(os, "write", write_half)
        with pytest.raises(OSError, match="No space"):
            journal.append(lines_of(Extended(6)))
        monkeypatch.undo()
        assert path.read_bytes() == before
        journal.append(lines_of(Extended(6)))
    assert read_history(path).target_trials == 6
