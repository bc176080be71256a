"""Arguments that commands of several files take."""

from typing import Annotated

import typer

TAKES_FLAGS = {"ignore_unknown_options": True}
"""Options that a command does not know go to its pairs: they may be flags of the original trainer."""

Pairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH VALUE]...",
        help="Config values by dotted path, as pairs; flags of the original trainer, beside a JSON file of its own.",
        show_default=False,
    ),
]
