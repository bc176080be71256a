"""What commands of several files have in common: arguments, and examples below their help."""

from typing import Annotated

import typer
from rich.markup import escape

from raysearch.commands.completion import config_paths

TAKES_FLAGS = {"ignore_unknown_options": True}
"""Options that a command does not know go to its pairs: they may be flags of the original trainer."""

Pairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH VALUE]...",
        help="Config values by dotted path, as pairs; flags of the original trainer, beside a JSON file of its own.",
        show_default=False,
        autocompletion=config_paths,
    ),
]


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "Examples:\n\n" + "\n".join(f"  {escape(command)}" for command in commands)
