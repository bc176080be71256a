"""A raysearch command as text for a shell."""

import shlex
from pathlib import Path


def command_line(*words: str | Path) -> str:
    """Return `python -m raysearch WORDS`, quoted; a path that looks like an option is written as `./-path`."""
    told = (f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words)
    return f"python -m raysearch {shlex.join(told)}"
