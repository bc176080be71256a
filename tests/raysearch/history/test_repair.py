import shutil
from pathlib import Path

import pytest

from raysearch.errors import InputError
from raysearch.history.history import read_history
from raysearch.history.journal import Journal, JournalEnd
from raysearch.history.repair import repair
from raysearch.history.run_dir import RunDir
from tests.raysearch.command import Command
from tests.raysearch.toy import facts, leave_journal, run_search, toy_spec


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    """Provide the folder of a finished search."""
    run_dir = RunDir(tmp_path / "run")
    run_dir.trials.mkdir(parents=True)
    spec = toy_spec(tmp_path)
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    run_search(spec, run_dir.journal)
    return run_dir


def flip(path: Path, line: int) -> bytes:
    """Change a digit in a line, counted from 1, and return the new content."""
    lines = path.read_bytes().splitlines(keepends=True)
    changed = bytearray(lines[line - 1])
    at = next(i for i in range(len(changed) // 2, len(changed)) if chr(changed[i]).isdigit())
    changed[at] ^= 1
    lines[line - 1] = bytes(changed)
    path.write_bytes(b"".join(lines))
    return b"".join(lines)


def test_a_repaired_search_ends_as_if_it_had_been_killed_before_the_damage(run_dir: RunDir, tmp_path: Path) -> None:
    expected = read_history(run_dir.journal)
    whole = run_dir.journal.read_bytes().splitlines(keepends=True)
    damaged = flip(run_dir.journal, 40)
    with pytest.raises(InputError, match=r"line 40: does not match its checksum.*raysearch repair") as caught:
        read_history(run_dir.journal)
    assert len(caught.value.faults) == 1

    done = repair(run_dir)

    assert done is not None
    assert done.num_kept == 39
    assert done.damage.startswith("line 40 does not match")
    assert run_dir.journal.read_bytes() == b"".join(whole[:39])
    assert done.kept_beside.read_bytes() == damaged
    assert facts(run_search(toy_spec(tmp_path), run_dir.journal)) == facts(expected)
    assert repair(run_dir) is None


def test_it_tells_what_is_lost(run_dir: RunDir) -> None:
    history = read_history(run_dir.journal)
    flip(run_dir.journal, 5)  # the third of eight reports of trial 0
    done = repair(run_dir)
    assert done is not None
    assert list(read_history(run_dir.journal).trials[0].reports) == [1, 2]
    num_reports = sum(len(trial.reports) for trial in history.trials[1:])
    assert done.lost == (
        f"trials 1 to {history.trials[-1].number} with {num_reports} reports",
        "6 reports of trial 0, at iteration 3, 4, 5, 6, 7, 8",
        "the end of trial 0",
    )


def test_last_lines_that_are_gone_are_told(run_dir: RunDir, tmp_path: Path) -> None:
    expected = read_history(run_dir.journal)
    lines = run_dir.journal.read_bytes().splitlines(keepends=True)
    run_dir.journal.write_bytes(b"".join(lines[:-3]))
    with pytest.raises(InputError, match=f"line {len(lines) - 2}: is missing: {len(lines)} lines were written"):
        Journal(run_dir.journal)
    done = repair(run_dir)
    assert done is not None
    assert done.lost == ()
    assert facts(run_search(toy_spec(tmp_path), run_dir.journal)) == facts(expected)


def test_a_second_repair_keeps_both_damaged_journals(run_dir: RunDir) -> None:
    for line in (40, 20):
        flip(run_dir.journal, line)
        assert repair(run_dir) is not None
    assert {path.name for path in run_dir.root.glob("*.damaged*")} == {
        "study.journal.damaged",
        "study.journal.damaged.2",
    }
    assert len(run_dir.journal.read_bytes().splitlines()) == 19


def test_a_journal_without_its_first_line_cannot_be_repaired(run_dir: RunDir) -> None:
    before = flip(run_dir.journal, 1)
    with pytest.raises(InputError, match=r"line 1: does not match its checksum.*; restore the file from a copy$"):
        repair(run_dir)
    assert run_dir.journal.read_bytes() == before
    assert not list(run_dir.root.glob("*.damaged*"))


def test_a_running_search_is_not_repaired(run_dir: RunDir) -> None:
    with Journal(run_dir.journal):
        code = "another raysearch is running this search"
        with pytest.raises(InputError, match=code):
            repair(run_dir)


def test_an_emptied_journal_is_told(run_dir: RunDir) -> None:
    run_dir.journal.write_bytes(b"")
    with pytest.raises(InputError, match="line 1: is missing"):
        read_history(run_dir.journal)
    (run_dir.trials / "00000").mkdir()
    for end in (True, False):
        if not end:
            JournalEnd(run_dir.journal).forget()
        with pytest.raises(InputError, match=r"study\.journal: is empty, although the search had started trials"):
            RunDir.open(run_dir.root)
    run_dir.journal.unlink()
    with pytest.raises(InputError, match=r"its study\.journal, the only record of the search, is gone"):
        RunDir.open(run_dir.root)


def test_lines_of_before_are_covered_from_the_first_new_line_on(tmp_path: Path) -> None:
    kept = Path(__file__).parents[1] / "fixtures" / "runs" / "quadratic" / "study.journal"
    path = tmp_path / "study.journal"
    shutil.copy(kept, path)
    old = path.read_bytes()
    changed = old.replace(b'"trials":', b'"trials": ', 1)
    assert changed != old
    with Journal(path) as journal:
        journal.append([{"op_code": 2, "study_id": 0, "user_attr": {"trials": 40}}])
    new = path.read_bytes()
    assert new.startswith(old)
    assert read_history(path).target_trials == 40
    leave_journal(path, changed + new[len(old) :])
    with pytest.raises(InputError, match=rf"line {len(new.splitlines())}: does not match its checksum"):
        read_history(path)


def test_the_command(run_dir: RunDir, command: Command) -> None:
    assert command("repair", run_dir.root).out.endswith("study.journal: is not damaged\n")
    flip(run_dir.journal, 40)
    refused = command("report", run_dir.root)
    assert refused.code == 2
    assert refused.err.count("error:") == 1
    done = command("repair", run_dir.root)
    assert done.code == 0
    assert "damage:  line 40 does not match" in done.out
    assert "kept:    39 lines" in done.out
    assert f"raysearch resume {run_dir.root}" in done.out
    flip(run_dir.journal, 1)
    assert command("repair", run_dir.root).code == 2
