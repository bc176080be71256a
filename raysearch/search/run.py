"""A run: its folder, its space file and its history in one object."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from raysearch.config.strict_yaml import read_mapping
from raysearch.errors import Fault, InputError
from raysearch.history.history import History, read_history
from raysearch.history.run_dir import RunDir
from raysearch.space.digests import section_digests
from raysearch.space.parsing import load_space_of_run
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
            InputError: the folder holds no run, its space file or journal has faults, or they do not belong together.
        """
        run_dir = RunDir.open(folder)
        spec, history = load_space_of_run(run_dir.space), read_history(run_dir.journal)
        check_unedited(run_dir, history)
        return cls(run_dir, spec, history)


def check_unedited(run_dir: RunDir, history: History) -> None:
    """Check that the space file of a run still describes the search that its journal records.

    Raises:
        InputError: a section that shapes the search was edited.
    """
    if not history.sections:  # a search of version 0.2 or before
        return
    found = section_digests(read_mapping(run_dir.space, str(run_dir.space))[0])
    names = found.keys() | history.sections.keys()
    edited = sorted(name for name in names if found.get(name) != history.sections.get(name))
    if edited:
        what = f"{', '.join(edited)}: was edited after the search began, so its trials cannot be compared with new ones"
        fix = f"undo the edit, or start a new search with `search.warm_start: {run_dir.root}`"
        raise InputError([Fault(str(run_dir.space), what, fix)])
