"""A JSON Schema of the space file, generated from its models, for completion and checks in editors.

`check` covers what a schema cannot express, such as a constraint between two values or a file that must exist.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from raysearch.config.config_tree import ConfigTree
from raysearch.config.model_fields import aliases, models_in
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, LoadedTrainable
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.space.parameters import WORDS
from raysearch.space.settings import SECTIONS, reference_model
from trainables.protocol import HasMetricEntries

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE = "#/$defs/{model}"
_VALUE = {"type": ["boolean", "integer", "number", "string", "null"]}
_LISTED = {"type": ["boolean", "integer", "number", "string", "null", "array"]}
_VALUES = {"anyOf": [_VALUE, {"type": "array", "items": _LISTED}]}


def space_schema(trainable: LoadedTrainable) -> dict[str, Any]:
    """Return the schema of space files; it knows the config paths of files that use this trainable."""
    dialect = ConfigTree(trainable.config_model).dialect
    reference = None if dialect is None else reference_model(dialect)
    optional = (model for model in (reference, trainable.config_model) if model is not None)
    models: list[type[BaseModel]] = [*SECTIONS.values(), *WORDS.values(), *optional]
    references, document = models_json_schema([(model, "validation") for model in models], ref_template=_TEMPLATE)
    definitions: dict[str, Any] = document["$defs"]
    of = {model: references[model, "validation"] for model in models}
    for kind, words in WORDS.items():
        _complete_words(definitions[_name(of[words])], kind)
    searched = {"oneOf": [of[words] for words in WORDS.values()]}
    named: dict[str, Any] = {"properties": {"trainable": {"const": trainable.name}}}
    if trainable.name != DEFAULT_TRAINABLE:
        named["required"] = ["trainable"]
    objective = of[SECTIONS["objective"]]
    return {
        "$schema": DIALECT,
        "title": "Space file of raysearch",
        "description": "A search: fixed values, searched values, objectives and settings.",
        "type": "object",
        "properties": {
            "name": {
                "type": ["string", "integer"],
                "description": "Name of the run folder; by default, the name of the file.",
            },
            "trainable": {
                "type": "string",
                "default": DEFAULT_TRAINABLE,
                "description": "Trainable: package.module:Name, or file.py:Name relative to the space file.",
            },
            "config": {
                "description": "Fixed values of the trial config, or the path to a JSON or YAML file with them."
            },
            "space": {
                "type": "object",
                "minProperties": 1,
                "description": "Searched values, by dotted path into the config.",
            },
            "constraints": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Constraints, such as contrast.max_views <= contrast.max_samples, or iou.2 >= 0.15.",
            },
            "objective": {
                "anyOf": [objective, {"type": "array", "items": objective, "minItems": 1}],
                "description": "Objective, or a list of objectives; the first is the main one.",
            },
            **{key: _nullable(of[SECTIONS[key]]) for key in ("search", "scheduler", "resources")},
        },
        "required": ["space", "objective"],
        "additionalProperties": False,
        "if": named,
        "then": {"properties": _known(trainable, reference, of, definitions, searched)},
        "else": {
            "properties": {
                "config": {"type": ["object", "string"]},
                "space": {"additionalProperties": searched},
            }
        },
        "$defs": definitions,
    }


def _known(
    trainable: LoadedTrainable,
    reference: type[BaseModel] | None,
    of: Mapping[type[BaseModel], Any],
    definitions: dict[str, Any],
    searched: Any,
) -> dict[str, Any]:
    """Return the parts of the schema that depend on the trainable: the paths of its config and its metrics."""
    known: dict[str, Any] = {"config": {"type": ["object", "string"]}, "space": {"additionalProperties": searched}}
    model = trainable.config_model
    if model is not None:
        _add_aliases(model, of[model], definitions)
        known["config"] = {"anyOf": [{"type": "string"}, of[model]]}
        tree = ConfigTree(model)
        if tree.dialect is not None and reference is not None:
            own = definitions[_name(of[reference])]["properties"]
            whole = definitions[_name(of[model])]
            whole["properties"] = {**own, **whole["properties"]}
            whole["dependentRequired"] = {"flags": [tree.dialect.name]}
        paths = {path: _described(searched, tree.resolve(path).field) for path in tree.paths}
        known["space"] = {"properties": paths, "additionalProperties": False}
    if trainable.metrics is not None:
        lists = _reported_lists(model)
        named: dict[str, Any] = {"enum": sorted({*trainable.metrics, PEAK_MEMORY} - {*lists})}
        entries = [{"type": "string", "pattern": rf"^{re.escape(name)}\..+$"} for name in lists]
        metric = {"metric": {"anyOf": [named, *entries]} if entries else named}
        known["objective"] = {"properties": metric, "items": {"properties": metric}}
    return known


def _reported_lists(model: type[BaseModel] | None) -> list[str]:
    """Return the names of reported lists whose entries have names in the default config."""
    try:
        config = None if model is None else model()
    except ValidationError:  # a value has no default
        return []
    return sorted(config.metric_entries()) if isinstance(config, HasMetricEntries) else []


def _complete_words(definition: dict[str, Any], kind: str) -> None:
    """Add the keys of a range that are read before its model is validated."""
    definition["title"] = kind
    definition["properties"] = {
        "type": {"const": kind},
        **definition["properties"],
        "when": {
            "type": ["object", "null"],
            "additionalProperties": _VALUES,
            "description": "Dotted paths, each with the value, or list of values, that makes this parameter active.",
        },
    }
    definition["required"] = ["type", *definition["required"]]


def _add_aliases(model: type[BaseModel], reference: Mapping[str, str], definitions: dict[str, Any]) -> None:
    """Add every alias of every field to the schema."""
    properties = definitions[_name(reference)]["properties"]
    for name, field in model.model_fields.items():
        known = next((properties[key] for key in (name, *aliases(field)) if key in properties), None)
        if known is not None:
            properties.update(dict.fromkeys((name, *aliases(field)), known))
        for below in models_in(field.annotation):
            if below.__name__ in definitions:
                _add_aliases(below, {"$ref": _TEMPLATE.format(model=below.__name__)}, definitions)


def _described(schema: Mapping[str, Any], field: FieldInfo | None) -> dict[str, Any]:
    return {**schema, **({"description": field.description} if field is not None and field.description else {})}


def _nullable(reference: Mapping[str, str]) -> dict[str, Any]:
    return {"anyOf": [reference, {"type": "null"}]}


def _name(reference: Mapping[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]
