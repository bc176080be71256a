"""Single values given beside a file on a command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.config.faults import FaultList
from raysearch.config.strict_yaml import parse_value
from raysearch.config.values import plain
from raysearch.errors import Fault


@dataclass(frozen=True)
class Override:
    """A single value given beside a file on a command line."""

    text: str
    """The override as the user wrote it."""
    path: str
    value: Any


def pairs_of(trailing: Sequence[str], faults: FaultList) -> list[Override]:
    """Return the overrides in trailing `a.b.c value` words of a command line."""
    overrides = [
        override_of(f"{path} {value}", path, value, faults)
        for path, value in zip(trailing[::2], trailing[1::2], strict=False)
    ]
    if len(trailing) % 2:
        faults.extend([Fault(trailing[-1], "has no value after it", "overrides come in pairs: a.b.c value")])
    return [override for override in overrides if override is not None]


def override_of(text: str, path: str, value: str, faults: FaultList) -> Override | None:
    """Return the override of a path by a value in YAML; None if the value cannot be read."""
    own = FaultList(text)
    try:
        override = Override(text, path, plain(parse_value(value), (), own))
    except ValueError as error:
        own.add((), str(error), "write the value as in YAML")
    faults.extend(own.found)
    return None if own.found else override
