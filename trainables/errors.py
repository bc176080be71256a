"""Faults in user input: all reported at once, each with its place, value, rule and fix."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault, described in one line."""

    where: str
    """File, and the place in it."""
    what: str
    """Value, and the rule that it breaks."""
    fix: str
    """Action that fixes the fault."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}" if self.fix else f"{self.where}: {self.what}"


class InputError(ValueError):
    """The user's input is wrong. The exception carries every fault that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        assert faults, "an InputError without a fault says nothing"
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
