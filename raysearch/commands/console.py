"""Where commands print: results to standard output, what is said beside them to standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """Print a line as it is; by `print`, which bars let pass by as they do not a console."""
    print(line, flush=True)


def note(line: str) -> None:
    """Print a line as a note."""
    say(f"note: {line}")


def bars() -> Progress:
    """Progress bars on a terminal, which lines of standard output pass by if they go there too; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden, together = not err.is_terminal, out.is_terminal
    return Progress(*columns, console=err, transient=True, disable=hidden, redirect_stdout=together)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """One such bar, for what says how much is done and of how much."""
    with bars() as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
