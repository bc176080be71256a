"""Values of JSON types: documents and models as such values, and a value as one line of text."""

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from raysearch.config.faults import FaultList, Place
from raysearch.config.strict_yaml import kind_of


def show(value: Any) -> str:
    """Return a value as JSON text, shortened to fit on a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def plain(value: Any, place: Place, faults: FaultList) -> Any:
    """Return a deep copy of a document with text keys and JSON values; record all others as faults."""
    match value:
        case Mapping():
            copied = {}
            for key, below in value.items():
                if isinstance(key, str):
                    copied[key] = plain(below, (*place, key), faults)
                else:
                    faults.add(
                        place,
                        f"the key {show(key)} is {kind_of(key)}, but keys must be text",
                        "write it in quotes (YAML reads on, off, yes and no as truth values)",
                    )
            return copied
        case list() | tuple():
            return [plain(below, place, faults) for below in value]
        case None | bool() | int() | float() | str():
            return value
        case PurePath():
            return str(value)
        case _:
            faults.add(place, f"{show(value)} is {kind_of(value)}", "give text, a number, a list or a mapping")
            return None


def dumped(config: BaseModel) -> dict[str, Any]:
    """Return the nested config in a model, in JSON types."""
    return config.model_dump(mode="json", round_trip=True)
