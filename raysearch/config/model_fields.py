"""Fields of pydantic models: their aliases, and the models that they may hold."""

import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

Models = Sequence[type[BaseModel]]
"""Models that a value may have."""


def fields_of(models: Models) -> dict[str, FieldInfo]:
    """Return the fields of all models by name."""
    return {name: field for model in models for name, field in model.model_fields.items()}


def first_spelling(fields: Mapping[str, FieldInfo], key: str) -> str | None:
    """Return the name of the field with this name or alias; None if there is none."""
    if key in fields:
        return key
    return next((name for name, field in fields.items() if key in aliases(field)), None)


def aliases(field: FieldInfo) -> list[str]:
    """Return the aliases of a field."""
    match field.validation_alias:
        case str(alias):
            return [alias]
        case AliasChoices(choices=choices):
            return [choice for choice in choices if isinstance(choice, str)]
        case _:
            return []


def union_members(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union in any notation; another type yields itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from union_members(member)
    elif typing.get_origin(annotation) is typing.Annotated:
        yield from union_members(typing.get_args(annotation)[0])
    else:
        yield annotation


def models_in(annotation: Any) -> Models:
    """Return the models that a value of this type may have."""
    return [part for part in union_members(annotation) if inspect.isclass(part) and issubclass(part, BaseModel)]
