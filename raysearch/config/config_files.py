"""Reads files that hold one config, in our format or in the openseg dialect, with overrides and flags."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from raysearch.config.config_tree import ConfigTree
from raysearch.config.documents import Kind, read_document
from raysearch.config.faults import FaultList
from raysearch.config.overrides import Override, pairs_of
from raysearch.config.values import plain
from raysearch.errors import Fault
from trainables.openseg.dialect import is_openseg
from trainables.openseg.flags import Flags, given_at, read_flags
from trainables.openseg.reader import has_place, read_openseg
from trainables.protocol import HasUnused

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class Beside:
    """The overrides and flags given beside a config file on a command line."""

    overrides: Sequence[Override]
    flags: Flags
    """Flags of the original trainer."""
    cwd: Path
    """Folder to which relative paths in overrides refer."""


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

    A file of the openseg dialect is translated to our config, together with its flags and with the overrides that only
    name a path of the dialect.

    Raises:
        InputError: the file cannot be read, has a syntax error, or is not a mapping.
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
        path: A config in our format, or a JSON file of the openseg dialect.
        model: Model of the config.
        trailing: `a.b.c value` overrides and flags of the original trainer, as the words of a command line.
        cwd: Folder to which relative paths in overrides refer; absent: the working directory.
        say: Function that receives notices about the file, one line each.
        tasks: Flags for tasks of the original trainer that the caller performs.

    Raises:
        InputError: the file or the overrides have faults.
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


def misplaced(flags: Flags, source: str) -> list[Fault]:
    """Return a fault for each flag that was given without a file of the openseg dialect."""
    what = f"goes with a JSON file of openseg or ContrastiveSeg, and {source} is none"
    return [Fault(name, what, "give values of the config as pairs, such as optim.lr 0.01") for name in flags.names]


def misplaced_tasks(flags: Flags, allowed: Collection[str] = ()) -> list[Fault]:
    """Return a fault for each flag that asks for a task other than the `allowed` ones."""
    fixes = {
        "--phase": "give it to raysearch train, with --resume, or use raysearch evaluate",
        "--resume": "give raysearch evaluate or predict the checkpoint as --checkpoint",
        "--resume_continue": "give raysearch train the same --out: it goes on where it was cut off",
    }
    what = "asks for something else than this command does"
    return [Fault(name, what, fixes[name]) for name in flags.tasks if name not in allowed]
