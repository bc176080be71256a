"""The command line: the commands of all modules, and their exit codes."""

import errno
import signal
import sys

import typer
from rich.markup import escape

from raysearch.commands import console, data_commands, model_commands, search_commands, space_commands
from raysearch.commands.arguments import examples
from raysearch.errors import EXIT_FAILED, EXIT_WRONG_INPUT, Fault, InputError, WorkError
from raysearch.execution.chatter import capture_warnings

app = typer.Typer(
    name="raysearch",
    help="Search for the best settings of a semantic-segmentation trainer on your own images.",
    epilog=examples("raysearch run demo", "raysearch run potatoes.yaml"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(search_commands.app)
app.add_typer(model_commands.app)
app.add_typer(space_commands.app)
app.add_typer(data_commands.app, name="data")


def main() -> None:
    """Run the command line and exit with 0, 1 (the work failed), 2 (the input is wrong) or 128 + signal."""
    capture_warnings()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app(prog_name="raysearch")
    except _Interrupted as interrupted:
        console.err.print("interrupted")
        sys.exit(128 + interrupted.number)
    except InputError as error:
        for fault in error.faults:
            console.err.print(f"[red]error:[/red] {escape(str(fault))}")
        sys.exit(EXIT_WRONG_INPUT)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            fault = Fault(str(error.filename), "is longer than a path may be here", "check the path")
            console.err.print(f"[red]error:[/red] {escape(str(fault))}")
            sys.exit(EXIT_WRONG_INPUT)
        console.err.print(f"[red]failed:[/red] {escape(str(error))}")
        sys.exit(EXIT_FAILED)
    except WorkError as error:
        console.err.print(f"[red]failed:[/red] {escape(str(error))}")
        sys.exit(EXIT_FAILED)


class _Interrupted(BaseException):
    """A signal that ends a command; a search handles signals itself."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int, frame: object) -> None:
    raise _Interrupted(number)
