"""Tells a fault of the environment, which hits all trials alike, from one of a trial's own values.

A full disk or a lost mount would fail every trial that is still to come within seconds. Such a fault halts the search
instead, and the trial that met it is one that `resume` takes up again.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from raysearch.history.events import Halted
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The disk is full, or the quota used up: no trial can write."""

_LOST = (
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTCONN,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENOTDIR,
)
"""The folder has become read-only, or what holds it is gone."""

NUM_ALIKE = 5
"""Trials that fail in a row by the same error before the search halts.

Where values of a share p of the space raise an error, a run of five by chance has probability p^5: 0.1 % for a quarter
of the space, 3 % for half of it. Five trials are also few enough to lose to a fault that is nobody's values'.
"""

_PROBE_BYTES = 1 << 16


def fault_of_error(error: BaseException, folders: tuple[Path, ...]) -> Halted | None:
    """Return what an exception says of the environment; None where it may be the trial's own.

    Args:
        error: What a trial raised; its causes count too.
        folders: The search's own: a trial has no say in whether they can be read and written.
    """
    for one in _causes(error):
        place = _place(one)
        if isinstance(one, OSError) and one.errno in FULL:
            return Halted(f"{place or folders[0]}: {one.strerror}", "make room")
        if any(os.strerror(number) in str(one) for number in FULL):  # as torch and C++ libraries say it
            return Halted(f"{type(one).__name__}: {one}", "make room")
        is_ours = place is not None and any(place.is_relative_to(folder) for folder in folders)
        if isinstance(one, OSError) and one.errno in _LOST and is_ours:
            return _lost(place, one)
    return None


def fault_of_folder(folder: Path) -> Halted | None:
    """Write and delete a small file; return what keeps that from working."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with probe.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return fault_of_error(error, (folder,)) or _lost(folder, error)
    return None


class FailuresAlike:
    """Counts the trials that failed in a row by the same error, since the search was started or resumed.

    They count for nothing while a searched value that all of them have, and no trial that reported, may be the cause:
    where it is, others follow that do not have it.
    """

    def __init__(self, spec: SearchSpec, history: History) -> None:
        """Begin with none."""
        self._paths = [parameter.path for parameter in spec.parameters]
        self._history = history
        self._error = ""
        self._failed: list[TrialHistory] = []

    def reset(self) -> None:
        """Note that a trial ended otherwise."""
        self._failed = []

    def add(self, trial: TrialHistory, error: str) -> Halted | None:
        """Note that a trial failed; return why the search should halt, or None while it may go on."""
        if error != self._error:
            self._error, self._failed = error, []
        self._failed.append(trial)
        if len(self._failed) < NUM_ALIKE or any(self._may_be_cause(path) for path in self._paths):
            return None
        what = f"{len(self._failed)} trials in a row failed by the same error, and no searched value explains it"
        return Halted(f"{what}: {error}", "mend its cause")

    def _may_be_cause(self, path: str) -> bool:
        value = self._failed[0].values.get(path)
        if value is None or any(trial.values.get(path) != value for trial in self._failed):
            return False
        failed = {trial.number for trial in self._failed}
        others = [trial for trial in self._history.trials if trial.number not in failed]
        has_worked = any(trial.reports and trial.values.get(path) == value for trial in others)
        return not has_worked and any(trial.values.get(path) != value for trial in others)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and what led to it."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _place(error: BaseException) -> Path | None:
    name = error.filename if isinstance(error, OSError) else None
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def _lost(place: Path | None, error: OSError) -> Halted:
    return Halted(f"{place}: {error.strerror or error}", "make it readable and writable again")
