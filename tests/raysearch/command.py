"""A command of the command line that runs in the process of a test."""

from collections.abc import Callable
from typing import NamedTuple


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    """The exit code."""
    out: str
    err: str


Command = Callable[..., Ended]
"""Takes the words after `raysearch`, which may be paths."""
