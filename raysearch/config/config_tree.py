"""A config as a tree of dotted paths: which paths exist, which values are files, which values have no effect."""

import inspect
import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from raysearch.config.breaches import explain
from raysearch.config.faults import FaultList, Place
from raysearch.config.model_fields import Models, fields_of, first_spelling, models_in, union_members
from raysearch.config.overrides import Override
from raysearch.config.values import dumped, show
from raysearch.errors import Fault
from trainables.dotted_paths import assign, leaves, lookup
from trainables.protocol import Dialect, HasDialect
from trainables.spelling import nearest


@dataclass(frozen=True)
class Resolved:
    """The section or value that a dotted path names in a config."""

    kind: Literal["value", "section", "unknown"]
    path: str
    """The path with aliases replaced by the names of their fields."""
    field: FieldInfo | None = None


class ConfigTree:
    """The paths of a config model; without a model every path is valid."""

    def __init__(self, model: type[BaseModel] | None) -> None:
        self.model = model
        self._models: Models = [model] if model is not None else []

    @property
    def dialect(self) -> Dialect | None:
        """The dialect whose files can be translated to this config, if there is one."""
        return self.model.DIALECT if isinstance(self.model, HasDialect) else None

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Dotted paths of all values."""
        return tuple(_paths(self._models, ()))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Dotted paths of all sections and values."""
        sections = (path[: match.start()] for path in self.paths for match in re.finditer(r"\.", path))
        return tuple(dict.fromkeys((*sections, *self.paths)))

    def resolve(self, path: str) -> Resolved:
        """Return what a dotted path names."""
        keys = path.split(".")
        if self.model is None:
            return Resolved("value" if all(keys) else "unknown", path)
        models: Models = self._models
        names: list[str] = []
        for index, key in enumerate(keys):
            fields = fields_of(models)
            name = first_spelling(fields, key)
            if name is None:
                kind: Literal["value", "unknown"] = "value" if _is_open(models) else "unknown"
                return Resolved(kind, ".".join(names + keys[index:]))
            names.append(name)
            models = models_in(fields[name].annotation)
            if not models:
                rest = keys[index + 1 :]
                known = not rest or _holds_mapping(fields[name].annotation)
                return Resolved("value" if known else "unknown", ".".join(names + rest), fields[name])
        return Resolved("section", ".".join(names))

    def misnamed(self, path: str) -> tuple[str, str] | None:
        """Return what is wrong with a path that does not name a value, and the fix; None if it names one."""
        match self.resolve(path).kind:
            case "unknown":
                return f"the trial config has no {path}", nearest(path, self.paths)
            case "section":
                first = next(other for other in (*self.paths, f"{path}.…") if other.startswith(f"{path}."))
                return f"{path} is a section of the trial config, not a value", f"name a value in it, such as {first}"
            case "value":
                return None

    def absolute(self, path: str, value: Any, base_dir: Path) -> Any:
        """Return the value of a path; made absolute if the config model marks it as a file or folder."""
        return _absolute(self.resolve(path).field, value, base_dir)

    def prepare(self, values: dict[str, Any], base_dir: Path, place: Place, faults: FaultList) -> dict[str, Any]:
        """Return a nested config with field names instead of aliases and with absolute paths, without unknown keys."""
        if self.model is None:
            return values
        return self._prepare(self._models, values, base_dir, place, len(place), faults)

    def override(
        self, config: dict[str, Any], override: Override, base_dir: Path, place: Place, faults: FaultList
    ) -> None:
        """Set one value of a prepared config in place."""
        wrong = self.misnamed(override.path)
        if wrong:
            faults.extend([Fault(override.text, *wrong)])
            return
        path = self.resolve(override.path).path
        faults.note_origin((*place, *path.split(".")), override.text)
        assign(config, path, self.absolute(path, override.value, base_dir))

    def idle_notices(self, given: Mapping[str, Any], unused: Mapping[str, str]) -> list[str]:
        """Return notices about given values that have no effect, one line per reason.

        A config in which most values are given was probably written by a program, perhaps of an earlier version. In
        that case only values other than the defaults count.

        Args:
            given: The nested config as it was given, prepared.
            unused: Reasons by dotted path of every unused value or section.
        """
        values = dict(leaves(given))
        if self.model is not None and len(values) > len(self.paths) / 2:
            try:
                default = dumped(self.model())
            except ValidationError:
                default = {}
            values = {path: value for path, value in values.items() if lookup(default, path) != value}
        return idle_lines(values, unused)

    def validate(self, config: dict[str, Any], place: Place, faults: FaultList) -> BaseModel | None:
        """Return the config as its model; None if it violates a rule or there is no model."""
        if self.model is None:
            return None
        try:
            return self.model.model_validate(config, by_name=True)
        except ValidationError as error:
            for breach in explain(error, self.model, config):
                faults.add((*place, *breach.place), breach.what, breach.fix)
            return None

    def _prepare(
        self, models: Models, values: dict[str, Any], base_dir: Path, place: Place, depth: int, faults: FaultList
    ) -> dict[str, Any]:
        fields = fields_of(models)
        prepared: dict[str, Any] = {}
        for key, value in values.items():
            name = first_spelling(fields, key)
            if name is None and _is_open(models):
                prepared[key] = value
            elif name is None:
                path = ".".join((*place[depth:], key))
                if self.resolve(path).kind == "value":
                    faults.add(place, f"the key {show(key)} contains dots", "nest the sections instead")
                else:
                    faults.add((*place, key), "the trial config has no such value", nearest(path, self._names))
            elif name in prepared:
                faults.add((*place, key), f"is another name of {name}, which is also given", "keep one")
            elif (nested := models_in(fields[name].annotation)) and isinstance(value, dict):
                prepared[name] = self._prepare(nested, value, base_dir, (*place, key), depth, faults)
            else:
                prepared[name] = _absolute(fields[name], value, base_dir)
        return prepared


def idle_lines(given: Iterable[str], unused: Mapping[str, str]) -> list[str]:
    """Return notices about given dotted paths that have no effect, one line per reason."""
    by_reason: dict[str, list[str]] = {}
    for path in given:
        reason = next((unused[other] for other in unused if f"{path}.".startswith(f"{other}.")), None)
        if reason is not None:
            by_reason.setdefault(reason, []).append(path)
    return [
        f"{', '.join(paths)} {'is given but has' if len(paths) == 1 else 'are given but have'} no effect: {reason}"
        for reason, paths in by_reason.items()
    ]


def _is_open(models: Models) -> bool:
    return any(model.model_config.get("extra") == "allow" for model in models)


def _holds_mapping(annotation: Any) -> bool:
    for part in union_members(annotation):
        base = typing.get_origin(part) or part
        if base is Any or (inspect.isclass(base) and issubclass(base, Mapping)):
            return True
    return False


def _paths(models: Models, sections: Place) -> Iterator[str]:
    for name, field in fields_of(models).items():
        nested = models_in(field.annotation)
        if nested:
            yield from _paths(nested, (*sections, name))
        else:
            yield ".".join((*sections, name))


def _absolute(field: FieldInfo | None, value: Any, base_dir: Path) -> Any:
    if field is None:
        return value
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    typed = any(inspect.isclass(part) and issubclass(part, PurePath) for part in union_members(field.annotation))
    if not typed and extra.get("path") is not True:
        return value
    if isinstance(value, list):
        return [_absolute(field, below, base_dir) for below in value]
    words = extra.get("words", [])
    if not isinstance(value, str) or (isinstance(words, Sequence) and value in words):
        return value
    return os.path.abspath(base_dir / Path(value).expanduser())
