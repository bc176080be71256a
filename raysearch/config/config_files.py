"""Reads files that hold one config, ours or of the openseg dialect, with what is given beside them."""

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


def read_config_file(path: Path, source: str, tree: ConfigTree, beside: Beside) -> ConfigFile:
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
