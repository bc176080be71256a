"""Digests of the sections of a space file that shape a search, by which an edit of them is recognised."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

_FREE = ("name", "resources", "track")
"""Sections that may be edited while a search is interrupted: they change where it runs, not what it does."""


def section_digests(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of every section of a space file that shapes the search, by name.

    Absolute paths do not count, because data may be moved, and neither does `search.confirm`, which begins afterwards.
    """
    shaping = {name: section for name, section in document.items() if name not in _FREE}
    if isinstance(shaping.get("search"), Mapping):
        shaping["search"] = {key: value for key, value in shaping["search"].items() if key != "confirm"}
    return {name: _digest(section) for name, section in shaping.items()}


def _digest(section: Any) -> str:
    text = json.dumps(_without_paths(section), sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _without_paths(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _without_paths(below) for key, below in value.items()}
        case list() | tuple():
            return [_without_paths(below) for below in value]
        case str() if value.startswith("/"):
            return "/"
        case _:
            return value
