"""Tests that faults of the environment, which hit all trials, are distinguished from faults of a trial's values."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.events import Halted, Report
from raysearch.history.history import History, TrialHistory
from raysearch.search.environment import NUM_ALIKE, FailuresAlike, fault_of_error, fault_of_folder
from tests.raysearch.toy import toy_spec

RUN = Path("/runs/potatoes")


def os_error(number: int, place: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), place) if place else OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("place", [None, "/tmp/cache/0.npy", "/runs/potatoes/trials/00003/model.pt"])
def test_a_full_disk_is_no_trials_own_wherever_it_is(number: int, place: str | None) -> None:
    halt = fault_of_error(os_error(number, place), (RUN,))
    assert halt is not None
    assert halt.what == f"{place or RUN}: {os.strerror(number)}"
    assert halt.fix == "free some disk space"


@pytest.mark.parametrize(
    "name", ["EROFS", "EIO", "ESTALE", "EACCES", "EPERM", "ENOTCONN", "ENXIO", "ENODEV", "ENOTDIR"]
)
def test_a_lost_folder_counts_where_it_is_the_searchs_own(name: str) -> None:
    number = getattr(errno, name)
    halt = fault_of_error(os_error(number, "/runs/potatoes/trials/00003/model.pt"), (RUN,))
    assert halt is not None
    assert halt.what == f"/runs/potatoes/trials/00003/model.pt: {os.strerror(number)}"
    for place in ("/home/me/table.csv", "/runs/potatoes-2/x", None):
        assert fault_of_error(os_error(number, place), (RUN,)) is None


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", str(RUN / "x")), KeyError("x"), OSError("bad")])
def test_other_errors_may_be_the_trials_own(error: Exception) -> None:
    assert fault_of_error(error, (RUN,)) is None


def test_a_full_disk_behind_another_error_is_found() -> None:
    try:
        try:
            raise os_error(errno.ENOSPC, "/data/x")
        except OSError as error:
            raise RuntimeError("cannot save") from error
    except RuntimeError as error:
        wrapped = error
    assert fault_of_error(wrapped, (RUN,)) == Halted("/data/x: No space left on device", "free some disk space")
    torchs = RuntimeError("unable to write to file </torch_7>: No space left on device (28)")
    found = fault_of_error(torchs, (RUN,))
    assert found is not None
    assert "No space left on device (28)" in found.what


def test_a_folder_is_tried_by_writing_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "00003"
    assert fault_of_folder(folder) is None
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    halt = fault_of_folder(tmp_path / "file" / "00003")
    assert halt is not None
    assert "Not a directory" in halt.what


def alike(folder: Path, rows: Sequence[tuple[dict[str, Any], str | None]]) -> list[bool]:
    """Return whether the search halts after each trial, given its values and its error if it failed."""
    spec, history = toy_spec(folder), History()
    counted = FailuresAlike(spec, history)
    halts = []
    for values, error in rows:
        reports = {} if error else {1: Report(1, 0.5, {}, None, 1.0, False)}
        trial = TrialHistory(len(history.trials), {}, values, {}, 0.0, is_default=False, reports=reports)
        history.add(trial)
        if error is None:
            counted.reset()
        halts.append(error is not None and counted.add(trial, error) is not None)
    return halts


def test_five_alike_in_a_row_halt(tmp_path: Path) -> None:
    assert NUM_ALIKE == 5
    failing = [({"x": 0.1 * i, "kind": "ab"[i % 2]}, "no data") for i in range(6)]
    assert alike(tmp_path, failing[:5]) == [False] * 4 + [True]
    between = [*failing[:4], ({"x": 0.95, "kind": "a"}, None), *failing[:4]]
    assert not any(alike(tmp_path, between)), "a trial that ends well begins the count anew"
    other = [*failing[:4], ({"x": 0.95, "kind": "a"}, "another error"), *failing[:4]]
    assert not any(alike(tmp_path, other))


def test_a_value_that_all_of_them_have_is_held_to_be_the_cause(tmp_path: Path) -> None:
    worked = ({"x": 0.5, "kind": "a"}, None)
    broken = [({"x": 0.1 * i, "kind": "b"}, "b is broken") for i in range(9)]
    assert not any(alike(tmp_path, [worked, *broken])), "no trial with kind b has worked"
    has_worked = ({"x": 0.55, "kind": "b"}, None)
    assert alike(tmp_path, [worked, has_worked, *broken])[2:7] == [False] * 4 + [True]
    assert alike(tmp_path, broken)[:5] == [False] * 4 + [True], "nothing tells of a search without another kind"
