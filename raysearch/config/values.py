"""Values as JSON has them: documents and models made of nothing else, and one value shown in a line."""

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from raysearch.config.faults import FaultList, Place
from raysearch.config.strict_yaml import kind_of


def show(value: Any) -> str:
    """A value as it stands in JSON, shortened to fit a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def plain(value: Any, place: Place, faults: FaultList) -> Any:
    """A deep copy of a document in which every key is text and every value is one that JSON has."""
    match value:
        case Mapping():
            copied = {}
            for key, below in value.items():
                if isinstance(key, str):
                    copied[key] = plain(below, (*place, key), faults)
                else:
                    faults.add(
                        place,
                        f"the key {show(key)} is {kind_of(key)}, and keys must be text",
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
    """The nested config that a model holds, in the types of JSON."""
    return config.model_dump(mode="json", round_trip=True)
