"""A trial's config as a tree of dotted paths: which paths there are, which values are files, what breaks a rule."""

import difflib
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from raysearch.config.documents import Kind, read_document
from raysearch.config.faults import FaultList, Place
from raysearch.config.strict_yaml import kind_of, parse_value
from raysearch.errors import Fault
from trainables.config import Config
from trainables.dotted_paths import assign, leaves, lookup
from trainables.openseg.dialect import is_openseg
from trainables.openseg.flags import Flags, given_at, read_flags
from trainables.openseg.reader import has_place, read_openseg
from trainables.protocol import HasUnused

_M = TypeVar("_M", bound=BaseModel)
_Models = Sequence[type[BaseModel]]


@dataclass(frozen=True)
class Override:
    """One value given beside a file, on the command line."""

    text: str
    """As the user wrote it."""
    path: str
    value: Any


def pairs_of(trailing: Sequence[str], faults: FaultList) -> list[Override]:
    """The overrides in trailing `a.b.c value` words of a command line."""
    overrides = [
        override_of(f"{path} {value}", path, value, faults)
        for path, value in zip(trailing[::2], trailing[1::2], strict=False)
    ]
    if len(trailing) % 2:
        faults.extend([Fault(trailing[-1], "has no value after it", "overrides come in pairs: a.b.c value")])
    return [override for override in overrides if override is not None]


def dumped(config: BaseModel) -> dict[str, Any]:
    """The nested config that a model holds, in the types of JSON."""
    return config.model_dump(mode="json", round_trip=True)


def override_of(text: str, path: str, value: str, faults: FaultList) -> Override | None:
    """The override of a path by a value written in YAML, or nothing where that cannot be read."""
    own = FaultList(text)
    try:
        override = Override(text, path, plain(parse_value(value), (), own))
    except ValueError as error:
        own.add((), str(error), "write the value as in YAML")
    faults.extend(own.found)
    return None if own.found else override


@dataclass(frozen=True)
class Beside:
    """What is given beside a config file, on a command line."""

    overrides: Sequence[Override]
    flags: Flags
    """Flags of the original trainer."""
    cwd: Path
    """Where relative paths in overrides start."""


class ConfigFile(NamedTuple):
    """What a config file and the values beside it say."""

    values: dict[str, Any]
    """The nested config."""
    overrides: Sequence[Override]
    """Those given beside the file that are still to be set."""
    faults: Sequence[Fault] = ()
    origins: Mapping[str, str] = MappingProxyType({})
    """Dotted path -> place in the file, where that is another."""
    notices: Sequence[str] = ()


def read_config_file(path: Path, source: str, tree: "ConfigTree", beside: Beside) -> ConfigFile:
    """The nested config in a JSON or YAML file, without the `raysearch` block of an exported one.

    A file of the openseg dialect is put into the words of the config, with its flags and with those overrides that
    name no path of the config but one of the dialect.

    Raises:
        InputError: the file cannot be read, breaks the syntax, or is not a mapping.
    """
    own_keys = None if tree.model is None else {*tree.model.model_fields, "raysearch"}
    document, faults = read_document(
        path, source, Kind.CONFIG, own_keys, also=Kind.OPENSEG if tree.takes_openseg else None
    )
    if not (tree.takes_openseg and is_openseg(document)):
        document.pop("raysearch", None)
        return ConfigFile(document, beside.overrides, faults + misplaced(beside.flags, source))
    theirs = [o for o in beside.overrides if tree.misnamed(o.path) and has_place(document, o.path)]
    given = [given_at(o.text, o.path, o.value, beside.cwd) for o in theirs]
    reading = read_openseg(document, source, [*beside.flags.given, *given])
    unused = beside.flags.passed_over
    notices = [f"{', '.join(unused)}: passed over, having no meaning here"] if unused else []
    return ConfigFile(
        values=reading.values,
        overrides=[override for override in beside.overrides if override not in theirs],
        faults=[*faults, *reading.faults],
        origins=reading.origins,
        notices=[*notices, *reading.notices],
    )


def misplaced(flags: Flags, source: str) -> list[Fault]:
    """The faults of flags that are given where there is no file of the openseg dialect."""
    what = f"goes with a JSON file of openseg or ContrastiveSeg, and {source} is none"
    return [Fault(name, what, "give values of the config as pairs, such as optim.lr 0.01") for name in flags.names]


def misplaced_tasks(flags: Flags, allowed: Collection[str] = ()) -> list[Fault]:
    """Return the faults of flags that ask for a task that is not the one at hand; `allowed` are those that are."""
    fixes = {
        "--phase": "give it to raysearch train, with --resume, or use raysearch evaluate",
        "--resume": "give raysearch evaluate or predict the checkpoint as --checkpoint",
        "--resume_continue": "give raysearch train the same --out: it goes on where it was cut off",
    }
    what = "asks for something else than this command does"
    return [Fault(name, what, fixes[name]) for name in flags.tasks if name not in allowed]


def load_config(
    path: Path,
    model: type[_M],
    trailing: Sequence[str] = (),
    *,
    cwd: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    tasks: Collection[str] = (),
) -> _M:
    """The config in a file, with overrides on top; paths in the file are relative to it, overriding ones to `cwd`.

    Args:
        path: A config of our own, or a JSON file of the openseg dialect.
        model: The config's model.
        trailing: `a.b.c value` overrides and flags of the original trainer, as the words of a command line.
        cwd: Where relative paths in overrides start; absent: the working directory.
        say: Takes what is worth knowing of the file, one line at a time.
        tasks: Flags of the original's tasks that the caller acts on.

    Raises:
        InputError: every fault of the file and of the overrides.
    """
    faults = FaultList(str(path))
    path, cwd = path.expanduser(), cwd or Path.cwd()
    tree = ConfigTree(model)
    flags = read_flags(trailing, cwd)
    faults.extend([*flags.faults, *misplaced_tasks(flags, tasks)])
    file = read_config_file(path, str(path), tree, Beside(pairs_of(flags.rest, faults), flags, cwd))
    faults.extend(file.faults)
    for dotted, origin in file.origins.items():
        faults.note_origin(tuple(dotted.split(".")), origin)
    config = tree.prepare(plain(file.values, (), faults), path.parent, (), faults)
    for override in file.overrides:
        tree.override(config, override, cwd, (), faults)
    validated = tree.validate(config, (), faults)
    faults.raise_any(file.values)
    unused: dict[str, str] = validated.unused() if isinstance(validated, HasUnused) else {}
    for notice in (*file.notices, *tree.idle_notices(config, unused)):
        say(notice)
    assert isinstance(validated, model), "a config without a fault was validated"
    return validated


def idle_lines(given: Iterable[str], unused: Mapping[str, str]) -> list[str]:
    """Say which of the dotted paths that a user gave have no effect, one line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for path in given:
        reason = next((unused[other] for other in unused if f"{path}.".startswith(f"{other}.")), None)
        if reason is not None:
            by_reason.setdefault(reason, []).append(path)
    return [
        f"{', '.join(paths)} {'is' if len(paths) == 1 else 'are'} given but without effect: {reason}"
        for reason, paths in by_reason.items()
    ]


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


def show(value: Any) -> str:
    """A value as it stands in JSON, shortened to fit a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, valid: Iterable[str]) -> str:
    """The fix for a misspelt name: the nearest right spelling, or the valid ones."""
    names = list(valid)
    spelt = {path.lower(): path for path in reversed(names)}
    by_last = {path.rpartition(".")[2]: name for path, name in spelt.items()}
    last = name.lower().rpartition(".")[2]
    if close := difflib.get_close_matches(name.lower(), spelt, n=1):
        return f"did you mean {spelt[close[0]]}?"
    if close := difflib.get_close_matches(last, by_last, n=1, cutoff=0.8):  # right but for the section it was put in
        return f"did you mean {by_last[close[0]]}?"
    return f"valid are {', '.join(names)}" if 0 < len(names) <= 20 else ""


@dataclass(frozen=True)
class Resolved:
    """What a dotted path names in a config."""

    kind: Literal["value", "section", "unknown"]
    path: str
    """The path with every name in its first spelling (a field may have aliases)."""
    field: FieldInfo | None = None


class ConfigTree:
    """The paths of a config model; without a model any path goes."""

    def __init__(self, model: type[BaseModel] | None) -> None:
        self.model = model
        self._models: _Models = [model] if model is not None else []

    @property
    def takes_openseg(self) -> bool:
        """Whether files of the openseg dialect can be put into the words of this config."""
        return self.model is not None and issubclass(self.model, Config)

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
        """What a dotted path names."""
        keys = path.split(".")
        if self.model is None:
            return Resolved("value" if all(keys) else "unknown", path)
        models: _Models = self._models
        names: list[str] = []
        for index, key in enumerate(keys):
            fields = _fields(models)
            name = _first_spelling(fields, key)
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
        """What is wrong with a path and how to mend it, if it does not name a value."""
        match self.resolve(path).kind:
            case "unknown":
                return f"the trial config has no {path}", nearest(path, self.paths)
            case "section":
                first = next(other for other in (*self.paths, f"{path}.…") if other.startswith(f"{path}."))
                return f"{path} is a section of the trial config, not a value", f"name a value in it, such as {first}"
            case "value":
                return None

    def absolute(self, path: str, value: Any, base_dir: Path) -> Any:
        """The value of a path, made absolute if the config model marks it as naming a file or folder."""
        return _absolute(self.resolve(path).field, value, base_dir)

    def prepare(self, values: dict[str, Any], base_dir: Path, place: Place, faults: FaultList) -> dict[str, Any]:
        """A nested config with fields in their first spelling and absolute paths, without keys that do not exist."""
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
        """Say which values that a user gave have no effect, one line for each reason.

        A document that holds most values was written by a program, perhaps of an earlier version: of that, only values
        other than the defaults count.

        Args:
            given: The nested config as it was given, prepared.
            unused: Dotted path of every unused value or section, with the reason.
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
        """The config as its model, or nothing where it breaks a rule (or there is no model)."""
        if self.model is None:
            return None
        try:
            return self.model.model_validate(config, by_name=True)
        except ValidationError as error:
            for breach in explain(error, self.model, config):
                faults.add((*place, *breach.place), breach.what, breach.fix)
            return None

    def _prepare(
        self, models: _Models, values: dict[str, Any], base_dir: Path, place: Place, depth: int, faults: FaultList
    ) -> dict[str, Any]:
        fields = _fields(models)
        prepared: dict[str, Any] = {}
        for key, value in values.items():
            name = _first_spelling(fields, key)
            if name is None and _is_open(models):
                prepared[key] = value
            elif name is None:
                path = ".".join((*place[depth:], key))
                if self.resolve(path).kind == "value":
                    faults.add(place, f"the key {show(key)} has dots in it", "write one section inside the other")
                else:
                    faults.add((*place, key), "the trial config has no such value", nearest(path, self._names))
            elif name in prepared:
                faults.add((*place, key), f"is {name} by another name, which is given too", "keep one")
            elif (nested := models_in(fields[name].annotation)) and isinstance(value, dict):
                prepared[name] = self._prepare(nested, value, base_dir, (*place, key), depth, faults)
            else:
                prepared[name] = _absolute(fields[name], value, base_dir)
        return prepared


@dataclass(frozen=True)
class Breach:
    """One place of a document that breaks a rule of its model."""

    place: Place
    value: str | None
    """The value in one line, where the rule is about that alone."""
    rule: str
    fix: str

    @property
    def what(self) -> str:
        """Value and rule."""
        return f"{self.value} {self.rule}" if self.value is not None else self.rule


def explain(error: ValidationError, model: type[BaseModel], values: Mapping[str, Any]) -> list[Breach]:
    """All that pydantic found in `values`, one entry a place."""
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
            siblings = _fields(_models_at([model], place[:-1]))
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
    """Return the fix for a word that YAML reads as something else than the text that is wanted there."""
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
    """Return the words that are allowed where another one was found."""
    return re.findall(r"'([^']*)'", details.get("ctx", {}).get("expected", ""))


_RULES = {
    "string_type": "text",
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
}
"""pydantic's type of an error -> the rule in plain words, where pydantic's own are those of Python."""


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
    close = difflib.get_close_matches(value.strip('"'), words, n=1)
    if close:
        return f"did you mean {close[0]}?"
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


def _place(models: _Models, loc: Sequence[int | str]) -> tuple[Place, FieldInfo | None]:
    """The keys of an error's place, without the names that pydantic gives to the members of a union."""
    place: list[str] = []
    field = None
    for index, key in enumerate(loc):
        if models:
            name = _first_spelling(_fields(models), str(key))
            if name is not None:
                place.append(name)
                field = _fields(models)[name]
                models = models_in(field.annotation)
            elif index == len(loc) - 1 and key not in {model.__name__ for model in models}:
                place.append(str(key))  # a key that is not known
        elif isinstance(key, int):
            place.append(str(key))
        else:
            break
    return tuple(place), field


def _models_at(models: _Models, place: Place) -> _Models:
    for key in place:
        models = models_in(_fields(models)[key].annotation)
    return models


def _fields(models: _Models) -> dict[str, FieldInfo]:
    return {name: field for model in models for name, field in model.model_fields.items()}


def _first_spelling(fields: Mapping[str, FieldInfo], key: str) -> str | None:
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


def _parts(annotation: Any) -> Iterator[Any]:
    """The members of a union, however it is written."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _parts(member)
    elif typing.get_origin(annotation) is typing.Annotated:
        yield from _parts(typing.get_args(annotation)[0])
    else:
        yield annotation


def models_in(annotation: Any) -> _Models:
    """The models that a value of this type may be."""
    return [part for part in _parts(annotation) if inspect.isclass(part) and issubclass(part, BaseModel)]


def _is_open(models: _Models) -> bool:
    return any(model.model_config.get("extra") == "allow" for model in models)


def _holds_mapping(annotation: Any) -> bool:
    for part in _parts(annotation):
        base = typing.get_origin(part) or part
        if base is Any or (inspect.isclass(base) and issubclass(base, Mapping)):
            return True
    return False


def _paths(models: _Models, sections: Place) -> Iterator[str]:
    for name, field in _fields(models).items():
        nested = models_in(field.annotation)
        if nested:
            yield from _paths(nested, (*sections, name))
        else:
            yield ".".join((*sections, name))


def _absolute(field: FieldInfo | None, value: Any, base_dir: Path) -> Any:
    if field is None:
        return value
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    typed = any(inspect.isclass(part) and issubclass(part, PurePath) for part in _parts(field.annotation))
    if not typed and extra.get("path") is not True:
        return value
    if isinstance(value, list):
        return [_absolute(field, below, base_dir) for below in value]
    words = extra.get("words", [])
    if not isinstance(value, str) or (isinstance(words, Sequence) and value in words):
        return value
    return os.path.abspath(base_dir / Path(value).expanduser())
