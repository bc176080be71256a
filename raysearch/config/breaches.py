"""Validation errors of pydantic in plain words, with place, value, rule and fix."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from raysearch.config.faults import Place
from raysearch.config.model_fields import Models, fields_of, first_spelling, models_in
from raysearch.config.values import show
from trainables.spelling import closest, nearest


@dataclass(frozen=True)
class Breach:
    """A place of a document that violates a rule of its model."""

    place: Place
    value: str | None
    """The value on one line; None if the rule does not concern a single value."""
    rule: str
    fix: str

    @property
    def what(self) -> str:
        """Value and rule."""
        return f"{self.value} {self.rule}" if self.value is not None else self.rule


def explain(error: ValidationError, model: type[BaseModel], values: Mapping[str, Any]) -> list[Breach]:
    """Return the violations that pydantic found in `values`, one per place."""
    grouped: dict[Place, tuple[FieldInfo | None, list[ErrorDetails]]] = {}
    for details in error.errors(include_url=False):
        place, field = _place([model], details["loc"])
        grouped.setdefault(place, (field, []))[1].append(details)
    return [_breach(place, field, errors, model, values) for place, (field, errors) in grouped.items()]


def _breach(
    place: Place,
    field: FieldInfo | None,
    errors: Sequence[ErrorDetails],
    model: type[BaseModel],
    values: Mapping[str, Any],
) -> Breach:
    match errors[0]["type"]:
        case "missing":
            return Breach(place, None, "is missing", "give it a value")
        case "extra_forbidden":
            siblings = fields_of(_models_at([model], place[:-1]))
            return Breach(place, None, "is not known here", nearest(place[-1], siblings))
        case "value_error" | "assertion_error" if len(errors) == 1:
            what, _, fix = str(errors[0]["ctx"]["error"]).partition("; ")
            return Breach(place, None, what, fix)
        case _:
            value = _value_at(values, place)
            rules = dict.fromkeys(_rule(details) for details in errors)
            fix = _quotes(value, errors) or _fix(field, errors, show(value))
            return Breach(place, show(value), f"must be {' or '.join(rules)}", fix)


_TRUTH_WORDS = frozenset(("yes", "no", "on", "off", "true", "false"))


def _quotes(value: Any, errors: Sequence[ErrorDetails]) -> str:
    """Return the fix for a word that YAML does not read as the text that is required there."""
    wants_text = any(details["type"] == "string_type" for details in errors)
    wants_truth_word = any(not _TRUTH_WORDS.isdisjoint(_words(details)) for details in errors)
    match value:
        case bool() if wants_text or wants_truth_word:
            return "write it in quotes: YAML reads yes, no, on, off, true and false as truth values"
        case int() | float() if wants_text:
            return "write it in quotes: YAML reads it as a number"
        case None if wants_text:
            return "give text; in quotes if it is the word null or a ~, which YAML reads as nothing"
        case _:
            return ""


def _words(details: ErrorDetails) -> list[str]:
    """Return the allowed words if another word was found."""
    return re.findall(r"'([^']*)'", details.get("ctx", {}).get("expected", ""))


_RULES = {
    "string_type": "text",
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
}
"""Rules in plain words by pydantic's error type, where pydantic's own message uses Python terms."""


def _rule(details: ErrorDetails) -> str:
    if details["type"] in _RULES:
        return _RULES[details["type"]]
    if details["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "a mapping"
    if details["type"] in ("value_error", "assertion_error"):
        return str(details["ctx"]["error"])
    message = re.sub(r"^Input should be ", "", details["msg"])
    return re.sub(r", (unable to parse|got a number).*$", "", message).replace("valid integer", "whole number")


def _fix(field: FieldInfo | None, errors: Sequence[ErrorDetails], value: str) -> str:
    words = [word for details in errors for word in _words(details)]
    if close := closest(value.strip('"'), words):
        return f"did you mean {close}?"
    default = field.default if field is not None else None
    return f"the default is {show(default)}" if isinstance(default, bool | int | float | str) else ""


def _value_at(values: Any, place: Place) -> Any:
    for key in place:
        if isinstance(values, Mapping) and key in values:
            values = values[key]
        elif isinstance(values, Sequence) and key.isdecimal() and int(key) < len(values):
            values = values[int(key)]
        else:
            return None
    return values


def _place(models: Models, loc: Sequence[int | str]) -> tuple[Place, FieldInfo | None]:
    """Return the keys that lead to an error, without pydantic's names of union members, and the field there."""
    place: list[str] = []
    field = None
    for index, key in enumerate(loc):
        if models:
            name = first_spelling(fields_of(models), str(key))
            if name is not None:
                place.append(name)
                field = fields_of(models)[name]
                models = models_in(field.annotation)
            elif index == len(loc) - 1 and key not in {model.__name__ for model in models}:
                place.append(str(key))  # an unknown key
        elif isinstance(key, int):
            place.append(str(key))
        else:
            break
    return tuple(place), field


def _models_at(models: Models, place: Place) -> Models:
    for key in place:
        models = models_in(fields_of(models)[key].annotation)
    return models
