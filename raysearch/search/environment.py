"""Distinguishes faults of the environment, which hit all trials, from faults of a trial's own values.

A full disk or a lost mount would fail all remaining trials within seconds. Such a fault halts the search instead, and
`resume` continues the trial that met it.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from raysearch.history.events import Halted
from raysearch.history.history import History, TrialHistory
from raysearch.space.spec import SearchSpec
from trainables.plurals import counted

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers for a full disk or quota, which prevent every trial from writing."""

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
"""Error numbers for a folder that has become read-only or whose device is gone."""

NUM_ALIKE = 5
"""Number of consecutive trials with the same error after which the search halts.

If values in a share p of the space raise an error, a run of five by chance has probability p^5: 0.1 % for a quarter of
the space, 3 % for half of it. Five trials are also few enough to lose to a fault of the environment.
"""

_PROBE_BYTES = 1 << 16


def fault_of_error(error: BaseException, folders: tuple[Path, ...]) -> Halted | None:
    """Return the fault of the environment that an exception shows; None if it may be the trial's own fault.

    Args:
        error: Exception that a trial raised; its causes are also examined.
        folders: Folders of the search itself; a trial does not decide whether they can be read and written.
    """
    for one in _causes(error):
        place = _place(one)
        if isinstance(one, OSError) and one.errno in FULL:
            return Halted(f"{place or folders[0]}: {one.strerror}", "free some disk space")
        if any(os.strerror(number) in str(one) for number in FULL):  # the text in exceptions of torch and C++ libraries
            return Halted(f"{type(one).__name__}: {one}", "free some disk space")
        is_ours = place is not None and any(place.is_relative_to(folder) for folder in folders)
        if isinstance(one, OSError) and one.errno in _LOST and is_ours:
            return _lost(place, one)
    return None


def fault_of_folder(folder: Path) -> Halted | None:
    """Write and delete a small file; return the fault if that fails."""
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
    """A count of consecutive trials that failed with the same error since the search was started or resumed.

    The failures do not count if a searched value may be their cause: all of them have the value, and no trial that
    reported has it. Later trials without the value may succeed.
    """

    def __init__(self, spec: SearchSpec, history: History) -> None:
        """Start with no failures."""
        self._paths = [parameter.path for parameter in spec.parameters]
        self._history = history
        self._error = ""
        self._failed: list[TrialHistory] = []

    def reset(self) -> None:
        """Record that a trial ended in another way."""
        self._failed = []

    def add(self, trial: TrialHistory, error: str) -> Halted | None:
        """Record that a trial failed; return why the search should halt, or None if it may continue."""
        if error != self._error:
            self._error, self._failed = error, []
        self._failed.append(trial)
        if len(self._failed) < NUM_ALIKE or any(self._may_be_cause(path) for path in self._paths):
            return None
        trials = counted(len(self._failed), "trial")
        what = f"{trials} in a row failed with the same error, and no searched value explains it"
        return Halted(f"{what}: {error}", "correct its cause")

    def _may_be_cause(self, path: str) -> bool:
        value = self._failed[0].values.get(path)
        if value is None or any(trial.values.get(path) != value for trial in self._failed):
            return False
        failed = {trial.number for trial in self._failed}
        others = [trial for trial in self._history.trials if trial.number not in failed]
        has_worked = any(trial.reports and trial.values.get(path) == value for trial in others)
        return not has_worked and any(trial.values.get(path) != value for trial in others)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and the exceptions that led to it."""
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
