"""Where commands print: results to standard output, what is said beside them to standard error."""

from rich.console import Console
from rich.markup import escape

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """Print a line as it is, without reading markup in it."""
    out.print(escape(line))


def note(line: str) -> None:
    """Print a line as a note."""
    say(f"note: {line}")
