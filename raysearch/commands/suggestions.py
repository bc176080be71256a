"""A command that suggests the option or choice that was probably meant."""

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand

from raysearch.errors import Fault, InputError
from trainables.openseg.flags import FLAGS
from trainables.spelling import closest


class SuggestingCommand(TyperCommand):
    """A command that suggests the nearest option or choice, also if it accepts flags of the original trainer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments as usual, with suggestions in the messages.

        Raises:
            InputError: a word resembles an option and is not a flag of the original trainer.
        """
        is_open = ctx.ignore_unknown_options and not ctx.resilient_parsing
        if faults := list(self._nearly_options(args)) if is_open else []:
            raise InputError(faults)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            given, *choices = re.findall("'([^']*)'", error.message) or [""]
            if close := closest(given, choices):
                error.message = f"{error.message.removeprefix('Value error, ')} Did you mean {close}?"
            raise

    def _nearly_options(self, args: list[str]) -> Iterator[Fault]:
        options = ["--help"] + [name for param in self.params for name in param.opts if name.startswith("--")]
        for word in args:
            name = word.partition("=")[0]
            if name == "--":
                return
            is_unknown = name.startswith("--") and name not in (*options, *FLAGS)
            if is_unknown and (close := closest(name, options, cutoff=0.75)):
                yield Fault(name, "is not an option of this command", f"did you mean {close}?")
