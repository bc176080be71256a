"""Nested mappings by dotted path: `optim.lr` is the value of `lr` in the mapping at `optim`."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = object()
"""Value that `lookup` returns for a path that a mapping does not hold."""


def lookup(values: Mapping[str, Any], path: str, default: Any = ABSENT) -> Any:
    """Return the value at a dotted path, or `default`."""
    value: Any = values
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def assign(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, creating the mappings on the way."""
    *sections, name = path.split(".")
    for key in sections:
        below = values.get(key)
        values[key] = values = below if isinstance(below, dict) else {}
    values[name] = value


def with_values(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested mapping with values set at dotted paths."""
    nested: dict[str, Any] = copy.deepcopy(dict(base))
    for path, value in values.items():
        assign(nested, path, value)
    return nested


def leaves(values: Mapping[str, Any], *sections: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and value of everything that is not itself a mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, *sections, key)
        else:
            yield ".".join((*sections, key)), value
