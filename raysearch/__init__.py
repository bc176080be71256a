"""Hyperparameter search for a trainer: from a space file to the best config."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from raysearch.errors import InputError, WorkError

if TYPE_CHECKING:
    from pathlib import Path

    from raysearch.runs.outcome import SearchResult
    from raysearch.space.parsing import load_space, parse_space
    from raysearch.space.spec import SearchSpec

__all__ = ["InputError", "SearchSpec", "WorkError", "load_space", "open_run", "parse_space", "run"]

_HOMES = {
    "SearchSpec": "raysearch.space.spec",
    "load_space": "raysearch.space.parsing",
    "parse_space": "raysearch.space.parsing",
}
"""Modules of the names above that are imported at their first use, so that the command line answers at once."""


def __getattr__(name: str) -> Any:
    """Import the module of a name of this package."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def run(
    spec: "SearchSpec | Path | str | Mapping[str, Any]",
    out: "Path | str | None" = None,
    *,
    executor: Literal["ray", "local"] = "ray",
) -> "SearchResult":
    """Search for the best config; in a notebook, also show a live view of the search.

    Args:
        spec: A space file, the name of a shipped one, its content as a dict, or the result of `load_space` or
            `parse_space`. Ranges in a dict may be those of Ray Tune or Optuna, and its relative paths refer to the
            working directory.
        out: Folder of the run; absent: `runs/NAME-TIMESTAMP`.
        executor: Where trials run: on Ray, or in this process (`local`), one at a time.

    Returns:
        Paths of all files, the best value, the default config's value, and the tables as pandas frames.

    Raises:
        InputError: the input is wrong; nothing was started.
    """
    from pathlib import Path

    from raysearch.observers.notebook_view import NotebookView, is_notebook
    from raysearch.runs import driver
    from raysearch.space.parsing import load_space
    from raysearch.space.spec import SearchSpec
    from raysearch.space.sweeps import parse_ranges

    if isinstance(spec, Mapping):
        loaded = parse_ranges(spec, Path.cwd())
    else:
        loaded = spec if isinstance(spec, SearchSpec) else load_space(Path(spec))
    show = NotebookView() if is_notebook() else None
    return driver.run(loaded, None if out is None else Path(out), executor=executor, show=show)


def open_run(folder: "Path | str") -> "SearchResult":
    """Return the results of a search so far from the folder of its run; a finished search gives the same as `run`.

    Raises:
        InputError: the folder is not that of a run.
    """
    from pathlib import Path

    from raysearch.runs.outcome import search_result
    from raysearch.search.run import Run

    return search_result(Run.open(Path(folder)), None)
