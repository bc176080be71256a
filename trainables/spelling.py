"""Suggestions for misspelt names: the valid name that was probably meant."""

import difflib
from collections.abc import Iterable


def closest(name: str, valid: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the valid name most similar to a given one; None if none is similar enough.

    Args:
        name: The given name.
        valid: The valid names.
        cutoff: Required similarity, from 0 to 1 (the ratio of `difflib`); 1 means equal.
    """
    return next(iter(difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)), None)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the fix for a misspelt name: the nearest right spelling, or else the valid ones."""
    names = list(valid)
    spelt = {path.lower(): path for path in reversed(names)}
    by_last = {path.rpartition(".")[2]: name for path, name in spelt.items()}
    last = name.lower().rpartition(".")[2]
    if close := closest(name.lower(), spelt):
        return f"did you mean {spelt[close]}?"
    if close := closest(last, by_last, cutoff=0.8):  # right except for the section
        return f"did you mean {by_last[close]}?"
    return f"valid are {', '.join(names)}" if 0 < len(names) <= 20 else ""
