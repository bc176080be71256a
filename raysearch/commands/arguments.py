"""Arguments and help texts that several commands share."""

from typing import Annotated

import typer
from rich.markup import escape

from raysearch.commands.completion import config_paths

TAKES_FLAGS = {"ignore_unknown_options": True}
"""Settings with which unknown options are added to a command's pairs: they may be flags of the original trainer."""

Pairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH VALUE]...",
        help="Config values as pairs of dotted path and value; flags of the original trainer, with a file of its own.",
        show_default=False,
        autocompletion=config_paths,
    ),
]


def examples(*commands: str) -> str:
    """Return the end of a command's help with example commands."""
    return "Examples:\n\n" + "\n".join(f"  {escape(command)}" for command in commands)
