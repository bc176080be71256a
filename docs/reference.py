"""Writes the parts of the site's reference that are generated from the code: commands, space file, trial config.

A page contains a marker such as `<!-- generated: commands -->` on its own line. The build replaces it by Markdown.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import typer
from pydantic import BaseModel
from typer.cli import get_docs_for_click

from raysearch.commands.cli import app
from raysearch.space.parameters import WORDS
from raysearch.space.settings import SECTIONS, reference_model
from trainables.config import Config
from trainables.openseg import Openseg

_MARKER = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the markers of a page by the generated parts; MkDocs calls this for every page."""
    return _MARKER.sub(lambda marker: GENERATED[marker[1]](), markdown)


def commands() -> str:
    """Return all commands with their arguments and options."""
    command = typer.main.get_command(app)
    return get_docs_for_click(obj=command, ctx=typer.Context(command), name="raysearch", indent=1)


def space_file() -> str:
    """Return the plain sections of a space file and the words of `space:`."""
    parts = [_section(name, model, level=3) for name, model in SECTIONS.items()]
    words = [_section(f"type: {kind}", model, level=3) for kind, model in WORDS.items()]
    reference = _section("config: {openseg: …}", reference_model(Openseg()), level=3)
    return "\n".join([*parts, reference, "## What can be searched\n", *words])


def trial_config() -> str:
    """Return all sections of the trial config, each before the sections inside it."""
    return "\n".join(_section(path, model, level=2) for path, model in sections_of(Config))


GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands,
    "space file": space_file,
    "trial config": trial_config,
}


def sections_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the dotted path and the model of every section of a model, depth first."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield f"{path}{name}", inner
            yield from sections_of(inner, f"{path}{name}.")


def _section(title: str, model: type[BaseModel], level: int) -> str:
    """Return a heading, a description of the section, and a table of its fields."""
    schema = model.model_json_schema()
    inner = dict(sections_of(model))
    rows = [
        f"| `{name}` | {_cell(_kind(field, schema))} | {_cell(_default(name, field, schema))} "
        f"| {_cell(field.get('description', ''))} |"
        for name, field in schema["properties"].items()
        if name not in inner
    ]
    head = ["| field | type | default | meaning |", "|---|---|---|---|"]
    about = " ".join((model.__doc__ or "").split())
    return "\n".join([f"{'#' * level} `{title}`\n", f"{about}\n", *head, *rows, ""])


def _kind(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return the type of a field and its bounds in words."""
    match field:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return _kind(schema["$defs"][name], schema)
        case {"allOf": [one]}:
            return _kind(one, schema)
        case {"anyOf": list(several)}:
            return " or ".join(_kind(one, schema) for one in several)
        case {"enum": list(choices)}:
            return ", ".join(f"`{choice}`" for choice in choices)
        case {"const": choice}:
            return f"`{choice}`"
        case {"type": "array", "prefixItems": list(items)}:
            return f"[{', '.join(_kind(item, schema) for item in items)}]"
        case {"type": "array"}:
            item = _kind(field["items"], schema) if field.get("items") else "value"
            return f"list of {item}"
        case {"type": "object"}:
            return "mapping"
        case {"type": str(kind)}:
            words = {"number": "number", "integer": "whole number", "string": "text", "boolean": "`true`, `false`"}
            return " ".join([words.get(kind, f"`{kind}`"), *_bounds(field)])
    return "value"


def _bounds(field: dict[str, Any]) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    if found:
        yield ", ".join(found)


def _default(name: str, field: dict[str, Any], schema: dict[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "must be given"
    return f"`{json.dumps(field.get('default'), ensure_ascii=False)}`"


def _cell(text: str) -> str:
    """Return text on one line with escaped bars, for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
