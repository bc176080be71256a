"""One run as one value: its folder, its space file, and its history."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from raysearch.history.history import History, read_history
from raysearch.history.run_dir import RunDir
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec


@dataclass(frozen=True)
class Run:
    """A search and the folder that it is kept in."""

    dir: RunDir
    spec: SearchSpec
    history: History
    """The history; that of a running search grows."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the run in a folder, without touching it.

        Raises:
            InputError: the folder holds no run, or one that cannot be read.
        """
        run_dir = RunDir.open(folder)
        return cls(run_dir, load_space(run_dir.space), read_history(run_dir.journal))
