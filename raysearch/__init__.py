"""Finds the best settings of a trainer: space file in, best config out."""

from typing import TYPE_CHECKING

from raysearch.errors import InputError, WorkError
from raysearch.space import SearchSpec, load_space, parse_space

if TYPE_CHECKING:
    from pathlib import Path

    from raysearch.outcome import SearchResult

__all__ = ["InputError", "SearchSpec", "WorkError", "load_space", "parse_space", "run"]


def run(spec: "SearchSpec | Path | str", out: "Path | str | None" = None) -> "SearchResult":
    """Search for the best config.

    Args:
        spec: A space file, or what `load_space` or `parse_space` made of one.
        out: Folder of the run; `runs/NAME-TIMESTAMP` when absent.

    Returns:
        Where everything lies, the best value, and the default config's beside it.

    Raises:
        InputError: something given is wrong; nothing was started.
    """
    from pathlib import Path

    from raysearch import driver  # late: Ray takes seconds to import, and reading a space file does without

    loaded = spec if isinstance(spec, SearchSpec) else load_space(Path(spec))
    return driver.run(loaded, None if out is None else Path(out))
