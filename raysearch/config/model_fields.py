"""The fields of pydantic models: their spellings, and the models that a field may hold."""

import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

Models = Sequence[type[BaseModel]]
"""The models that one value may be."""


def fields_of(models: Models) -> dict[str, FieldInfo]:
    """Return the fields of all models by name."""
    return {name: field for model in models for name, field in model.model_fields.items()}


def first_spelling(fields: Mapping[str, FieldInfo], key: str) -> str | None:
    """Return the name of the field that a key names by any of its spellings; None if there is none."""
    if key in fields:
        return key
    return next((name for name, field in fields.items() if key in aliases(field)), None)


def aliases(field: FieldInfo) -> list[str]:
    """The other names of a field, the first spelling first."""
    match field.validation_alias:
        case str(alias):
            return [alias]
        case AliasChoices(choices=choices):
            return [choice for choice in choices if isinstance(choice, str)]
        case _:
            return []


def union_members(annotation: Any) -> Iterator[Any]:
    """The members of a union, however it is written."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from union_members(member)
    elif typing.get_origin(annotation) is typing.Annotated:
        yield from union_members(typing.get_args(annotation)[0])
    else:
        yield annotation


def models_in(annotation: Any) -> Models:
    """The models that a value of this type may be."""
    return [part for part in union_members(annotation) if inspect.isclass(part) and issubclass(part, BaseModel)]
