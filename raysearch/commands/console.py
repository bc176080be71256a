"""Output of commands: results to standard output, other messages to standard error."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

_UNLIMITED = 10_000
"""Width in characters that no table exceeds."""
_CUT = "…"
"""Character with which Rich marks truncated text."""

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def show(table: Table) -> None:
    """Print a table without truncating its text: wrapped to the terminal if it fits, otherwise at full width."""
    for column in table.columns:
        column.overflow = "ellipsis" if column.no_wrap else "fold"
    whole = _printed(table, _UNLIMITED)
    if out.is_terminal and _CUT not in _printed(table, out.width).replace(_CUT, "", whole.count(_CUT)):
        out.print(table, soft_wrap=False)
        return
    Console(width=max(map(cell_len, whole.splitlines()), default=1), highlight=False).print(table)


def _printed(table: Table, width: int) -> str:
    """Return a table as text."""
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def say(line: str) -> None:
    """Print a line unchanged, above any progress bar; bars only let output of `print` pass."""
    print(line, flush=True)


def note(line: str) -> None:
    """Print a line as a note."""
    say(f"note: {line}")


def bars() -> Progress:
    """Return progress bars on standard error; they are hidden if it is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden, together = not err.is_terminal, out.is_terminal
    return Progress(*columns, console=err, transient=True, disable=hidden, redirect_stdout=together)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show one progress bar and yield the function that updates it with the amount done and the total."""
    with bars() as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
