"""Faults in what a user gave: every one at once, each with its place, value, rule and fix."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, said in one line."""

    where: str
    """The file, and the place in it."""
    what: str
    """The value and the rule it breaks."""
    fix: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}" if self.fix else f"{self.where}: {self.what}"


class InputError(ValueError):
    """What a user gave is wrong; carries every fault that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        assert faults, "an InputError without a fault says nothing"
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
