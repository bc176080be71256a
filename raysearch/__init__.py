"""Finds the best settings of a trainer: space file in, best config out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raysearch.errors import InputError, WorkError
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.spec import SearchSpec

if TYPE_CHECKING:
    from pathlib import Path

    from raysearch.runs.outcome import SearchResult

__all__ = ["InputError", "SearchSpec", "WorkError", "load_space", "open_run", "parse_space", "run"]


def run(spec: "SearchSpec | Path | str | Mapping[str, Any]", out: "Path | str | None" = None) -> "SearchResult":
    """Search for the best config; in a notebook with a view of the search that is kept up to date.

    Args:
        spec: A space file, the name of a shipped one, its content as a dict, or what `load_space` or `parse_space` made
            of one. The ranges of a dict may be those of Ray Tune or Optuna; its paths start at the working directory.
        out: Folder of the run; `runs/NAME-TIMESTAMP` when absent.

    Returns:
        Where everything lies, the best value, the default config's beside it, and the tables as pandas frames.

    Raises:
        InputError: something given is wrong; nothing was started.
    """
    from pathlib import Path

    from raysearch.observers.notebook_view import NotebookView, is_notebook
    from raysearch.runs import driver  # late: Ray takes seconds to import, and reading a space file does without
    from raysearch.space.sweeps import parse_ranges

    if isinstance(spec, Mapping):
        loaded = parse_ranges(spec, Path.cwd())
    else:
        loaded = spec if isinstance(spec, SearchSpec) else load_space(Path(spec))
    show = NotebookView() if is_notebook() else None
    return driver.run(loaded, None if out is None else Path(out), show=show)


def open_run(folder: "Path | str") -> "SearchResult":
    """What a search has found so far, from the folder of its run: what `run` returned, where it has finished.

    Raises:
        InputError: the folder holds no run.
    """
    from pathlib import Path

    from raysearch.history.history import read_history
    from raysearch.history.run_dir import RunDir
    from raysearch.runs.outcome import search_result

    run_dir = RunDir.open(Path(folder))
    return search_result(read_history(run_dir.journal), load_space(run_dir.space), run_dir, None)
