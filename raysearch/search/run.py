"""A run: its folder, its space file and its history in one object."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from raysearch.history.history import History, read_history
from raysearch.history.run_dir import RunDir
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec


@dataclass(frozen=True)
class Run:
    """A search with the folder that stores it."""

    dir: RunDir
    spec: SearchSpec
    history: History
    """History of the search, which is updated while the search runs."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return the run in a folder; its files are only read.

        Raises:
            InputError: the folder holds no run, or its space file or journal has faults.
        """
        run_dir = RunDir.open(folder)
        return cls(run_dir, load_space(run_dir.space), read_history(run_dir.journal))
