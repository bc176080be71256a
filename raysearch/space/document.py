"""The first two phases of parsing: the content of a space file as plain values, and overrides of its plain sections."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from raysearch.config.faults import FaultList, Place
from raysearch.config.overrides import Override, override_of
from raysearch.config.strict_yaml import LimitError, check_limits, kind_of
from raysearch.config.values import plain
from raysearch.errors import Fault, InputError
from raysearch.space.sampler_loading import absolute_reference
from raysearch.space.settings import KEYS, SECTIONS
from trainables.dotted_paths import with_values
from trainables.spelling import nearest


@dataclass(frozen=True)
class Given:
    """The overrides given beside a space file on a command line."""

    set_values: Sequence[str]
    """`key=value` overrides of any section."""
    trailing: Sequence[str]
    """`a.b.c value` overrides of the config, and flags of its dialect."""
    cwd: Path
    """Folder to which relative paths in them refer."""


@dataclass(frozen=True)
class Document:
    """The content of a space file."""

    source: str
    """Name of the file in messages."""
    values: Mapping[str, Any]
    folders: Mapping[str, Path]
    """Folders to which relative paths under a key refer, by key; the key `search` is for paths in `warm_start`."""
    cwd: Path
    """Folder to which relative paths in overrides refer."""
    config_overrides: Sequence[Override] = ()
    """Overrides that a later phase applies to the config."""
    trailing: Sequence[str] = ()
    """Further words that a later phase reads as overrides of the config, and as flags if it has a dialect."""
    space_overrides: Sequence[Override] = ()
    """Overrides that a later phase applies to the searched values."""
    origins: Mapping[Place, str] = field(default_factory=lambda: MappingProxyType({}))
    """Sources of values that do not come from the file, by place."""


def read_values(raw: Mapping[str, Any], base_dir: Path, source: str, cwd: Path) -> tuple[Document, FaultList]:
    """Return the content as plain values, and the faults of its keys."""
    try:
        check_limits(raw)
    except LimitError as error:  # of a mapping in Python, since files are checked when they are read
        raise InputError([Fault(source, str(error), "correct it")]) from None
    faults = FaultList(source)
    values: dict[str, Any] = plain(raw, (), faults)
    for key in values:
        if key not in KEYS:
            sweep = "it belongs to a W&B sweep, which `raysearch convert` converts to a space file"
            faults.add((key,), "is not known here", sweep if key == "parameters" else nearest(key, KEYS))
    folders = dict.fromkeys(("trainable", "config", "space", "search", "algorithm"), base_dir)
    return Document(source, values, folders, cwd), faults


def override_document(document: Document, given: Given) -> tuple[Document, FaultList]:
    """Apply overrides of whole sections and of plain sections; keep those of config and space for their own phases."""
    faults = FaultList(document.source, document.origins)
    values, folders = dict(document.values), dict(document.folders)
    inner: dict[str, list[Override]] = {"config": [], "space": []}
    for words in given.set_values:
        text = f"--set {words}"
        path, equals, right = words.partition("=")
        key, _, rest = path.partition(".")
        if not equals:
            faults.extend([Fault(text, "has no =", "write --set dotted.path=value")])
            continue
        override = override_of(text, rest, right, faults)
        if override is None:
            continue
        if key not in KEYS:
            faults.extend([Fault(text, f"the space file has no {key}", nearest(key, KEYS))])
        elif not rest:
            values[key] = override.value
            faults.note_origin((key,), text)
            if key in folders:
                folders[key] = given.cwd
            if key == "search":
                folders["algorithm"] = given.cwd
        elif key in inner:
            inner[key].append(override)
        elif key not in SECTIONS or rest.partition(".")[0] not in SECTIONS[key].model_fields:
            valid = SECTIONS[key].model_fields if key in SECTIONS else ()
            faults.extend([Fault(text, f"{key} has no {rest}", nearest(rest, valid))])
        else:
            section = values[key] if values.get(key) is not None else {}
            if isinstance(section, dict):
                values[key] = with_values(section, {rest: override.value})
                if (key, rest) == ("search", "warm_start"):
                    folders["search"] = given.cwd
                if (key, rest) == ("search", "algorithm"):
                    folders["algorithm"] = given.cwd
                faults.note_origin((key, *rest.split(".")), text)
            else:
                faults.extend([Fault(text, f"{key} is {kind_of(section)} in the file", f"set {key} as a whole")])
    if "search" in values:
        values["search"] = _with_absolute_paths(values["search"], folders)
    changed = replace(
        document,
        values=values,
        folders=folders,
        cwd=given.cwd,
        config_overrides=inner["config"],
        trailing=given.trailing,
        space_overrides=inner["space"],
        origins=faults.origins,
    )
    return changed, faults


def _with_absolute_paths(search: Any, folders: Mapping[str, Path]) -> Any:
    """Return the `search` section with absolute paths under `warm_start` and `algorithm`."""
    if not isinstance(search, dict):
        return search
    absolute = dict(search)
    if isinstance(search.get("algorithm"), str):
        absolute["algorithm"] = absolute_reference(search["algorithm"], folders["algorithm"])
    match search.get("warm_start"):
        case str(source):
            absolute["warm_start"] = _absolute_source(source, folders["search"])
        case list(sources):
            absolute["warm_start"] = [_absolute_source(source, folders["search"]) for source in sources]
    return absolute


def _absolute_source(source: Any, folder: Path) -> Any:
    return os.path.abspath(folder / Path(source).expanduser()) if isinstance(source, str) else source
