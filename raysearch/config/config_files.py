"""Reads files that hold one config, in the format of raysearch or of its dialect, with overrides and flags."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from raysearch.config.config_tree import ConfigTree
from raysearch.config.documents import Kind, kind_at, read_document
from raysearch.config.faults import FaultList
from raysearch.config.overrides import Override, pairs_of
from raysearch.config.strict_yaml import read_mapping
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, LoadedTrainable, load_trainable
from raysearch.config.trust import check_trusted, named_by_space
from raysearch.config.values import plain
from raysearch.errors import Fault, InputError
from trainables.protocol import DialectFlags, HasUnused

ORIGIN = "raysearch"
"""Key of the block of an exported config that says where the config comes from."""

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class Beside:
    """The overrides and flags given beside a config file on a command line."""

    overrides: Sequence[Override]
    flags: DialectFlags
    """Flags of the program whose dialect the config knows."""
    cwd: Path
    """Folder to which relative paths in overrides refer."""


def read_beside(
    words: Sequence[str], tree: ConfigTree, cwd: Path, faults: FaultList, tasks: Collection[str] = ()
) -> Beside:
    """Return the flags and the `a.b.c value` overrides among the words of a command line.

    Args:
        words: The words.
        tree: The config that they are given for.
        cwd: Folder to which relative paths in them refer.
        faults: List to which the faults of the words are added.
        tasks: Flags for tasks of the other program that the caller performs.
    """
    flags = _no_flags(words) if tree.dialect is None else tree.dialect.read_flags(words, cwd)
    faults.extend([*flags.faults, *misplaced_tasks(flags, tasks)])
    return Beside(pairs_of(flags.rest, faults), flags, cwd)


class ConfigFile(NamedTuple):
    """The content of a config file together with what was given beside it."""

    values: dict[str, Any]
    """The nested config."""
    overrides: Sequence[Override]
    """Overrides that are still to be applied."""
    faults: Sequence[Fault] = ()
    origins: Mapping[str, str] = MappingProxyType({})
    """Places in the file by dotted path, if they differ from the path."""
    notices: Sequence[str] = ()


def read_config_file(path: Path, source: str, tree: ConfigTree, beside: Beside) -> ConfigFile:
    """Return the nested config in a JSON or YAML file, without the `raysearch` block of an exported config.

    A file of the config's dialect is translated to the config, together with its flags and with the overrides that only
    name a path of the dialect.

    Raises:
        InputError: the file cannot be read, has a syntax error, or is not a mapping.
    """
    own_keys = None if tree.model is None else {*tree.model.model_fields, ORIGIN}
    document, faults = read_document(path, source, Kind.CONFIG, own_keys, lambda: tree.model)
    dialect = tree.dialect
    if dialect is None or not dialect.recognises(document):
        document.pop(ORIGIN, None)
        return ConfigFile(document, beside.overrides, faults + misplaced(beside.flags, tree, source))
    theirs = {
        override.path: given
        for override in beside.overrides
        if tree.misnamed(override.path)
        and (given := dialect.given_at(document, override.path, override.text, override.value, beside.cwd))
    }
    reading = dialect.read(document, source, [*beside.flags.given, *theirs.values()])
    unused = beside.flags.passed_over
    notices = [f"{', '.join(unused)}: ignored, because it has no meaning here"] if unused else []
    return ConfigFile(
        values=reading.values,
        overrides=[override for override in beside.overrides if override.path not in theirs],
        faults=[*faults, *reading.faults],
        origins=reading.origins,
        notices=[*notices, *reading.notices],
    )


def load_config(
    path: Path,
    model: type[_M],
    trailing: Sequence[str] = (),
    *,
    cwd: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    tasks: Collection[str] = (),
) -> _M:
    """Return the config in a file with overrides applied; relative paths in the file refer to its folder.

    Args:
        path: A config in our format, or a file of its dialect.
        model: Model of the config.
        trailing: `a.b.c value` overrides and flags of the dialect, as the words of a command line.
        cwd: Folder to which relative paths in overrides refer; absent: the working directory.
        say: Function that receives notices about the file, one line each.
        tasks: See `read_beside`.

    Raises:
        InputError: the file or the overrides have faults.
    """
    _, validated = _load(path, ConfigTree(model), trailing, cwd or Path.cwd(), say, tasks)
    assert isinstance(validated, model), "a config without a fault was validated"
    return validated


class TrainedConfig(NamedTuple):
    """The config of one training, with its trainable."""

    trainable: LoadedTrainable
    config: Any
    """The config as the trainable's methods take it."""
    origin: Mapping[str, Any]
    """The `raysearch` block of an exported config; empty in other files."""


def load_trained_config(
    path: Path,
    trailing: Sequence[str] = (),
    *,
    say: Callable[[str], None] = lambda line: None,
    tasks: Collection[str] = (),
) -> TrainedConfig:
    """Return the config in a file and the trainable that its `raysearch` block names; see `load_config`.

    If the block names no trainable, it is the one of a space file without `trainable:`.

    Raises:
        InputError: the file, the trainable or the overrides have faults, or the user does not trust the trainable.
    """
    file = path.expanduser()
    origin = _origin(file, str(path))
    reference = str(origin.get("trainable", DEFAULT_TRAINABLE))
    check_trusted([reference], file.absolute().parent, path)
    trainable = load_trainable(reference, file.absolute().parent)
    values, validated = _load(path, ConfigTree(trainable.config_model), trailing, Path.cwd(), say, tasks)
    return TrainedConfig(trainable, values if validated is None else validated, origin)


def code_of_file(file: Path) -> tuple[str, ...]:
    """Return the references in a space file, or in the `raysearch` block of a config.

    Raises:
        InputError: the file cannot be read.
    """
    document, _ = read_mapping(file, str(file))
    origin = document.get(ORIGIN)
    if isinstance(origin, Mapping):
        return tuple(name for name in [origin.get("trainable")] if isinstance(name, str))
    return named_by_space(document)


def _origin(path: Path, source: str) -> dict[str, Any]:
    """Return the `raysearch` block of a file; empty if it has none or is not a config, which its reader reports."""
    if kind_at(path) is not None:
        return {}
    try:
        origin = read_mapping(path, source)[0].get(ORIGIN)
    except InputError:
        return {}
    return origin if isinstance(origin, dict) else {}


def _load(
    path: Path,
    tree: ConfigTree,
    trailing: Sequence[str],
    cwd: Path,
    say: Callable[[str], None],
    tasks: Collection[str],
) -> tuple[dict[str, Any], BaseModel | None]:
    faults = FaultList(str(path))
    path = path.expanduser()
    file = read_config_file(path, str(path), tree, read_beside(trailing, tree, cwd, faults, tasks))
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
    return config, validated


def _no_flags(words: Sequence[str]) -> DialectFlags:
    """Return the words as those of a config without a dialect, for which any flag is a fault."""
    flags = [word for word in words[::2] if word.startswith("--")]
    fix = "--help lists the options; config values are pairs"
    return DialectFlags(
        rest=() if flags else tuple(words),
        faults=tuple(Fault(word, "is not an option of this command", fix) for word in flags),
    )


def misplaced(flags: DialectFlags, tree: ConfigTree, source: str) -> list[Fault]:
    """Return a fault for each flag that was given without a file of the config's dialect."""
    if tree.dialect is None:
        return []
    what = f"requires a JSON file of {tree.dialect.programs}, which {source} is not"
    return [Fault(name, what, "give values of the config as pairs, such as optim.lr 0.01") for name in flags.names]


def misplaced_tasks(flags: DialectFlags, allowed: Collection[str] = ()) -> list[Fault]:
    """Return a fault for each flag that asks for a task other than the `allowed` ones."""
    what = "asks for another task than that of this command"
    return [Fault(name, what, instead) for name, instead in flags.tasks.items() if name not in allowed]
