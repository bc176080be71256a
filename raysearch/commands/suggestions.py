"""A command that says what was probably meant, by an option that it lacks or by a choice that there is not."""

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand

from raysearch.errors import Fault, InputError
from trainables.openseg.flags import FLAGS
from trainables.spelling import closest


class SuggestingCommand(TyperCommand):
    """Also where options that are not known may be flags of the original trainer, and go to its pairs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever, but for the messages.

        Raises:
            InputError: words are nearly options and no flags.
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
                yield Fault(name, "is no option here", f"did you mean {close}?")
