"""Which of the valid names a misspelt one was probably meant to be."""

import difflib
from collections.abc import Iterable


def closest(name: str, valid: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the valid name that a given one is most like; None if it is like none.

    Args:
        name: As it was given.
        valid: What it may be.
        cutoff: How like it must be, from 0 to 1, where 1 is equal (the ratio of `difflib`).
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
    if close := closest(last, by_last, cutoff=0.8):  # right but for the section it was put in
        return f"did you mean {by_last[close]}?"
    return f"valid are {', '.join(names)}" if 0 < len(names) <= 20 else ""
