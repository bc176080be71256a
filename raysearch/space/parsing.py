"""Reads a space file into a checked `SearchSpec`, in phases that each return values and faults.

All faults of the file are found before anything runs, and they are raised together in the order of the file.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from raysearch.config.documents import SPACE_KEYS, Kind, read_document
from raysearch.config.faults import FaultList, Place
from raysearch.config.sections import read_section
from raysearch.config.shipped import find_space
from raysearch.config.strict_yaml import kind_of
from raysearch.config.trainable_loading import LoadedTrainable
from raysearch.config.trust import check_trusted, code_of_space
from raysearch.config.values import show
from raysearch.errors import Fault
from raysearch.space.base_config import BaseConfig, read_base_config
from raysearch.space.cross_checks import Checked, cross_check
from raysearch.space.document import Document, Given, override_document, read_values
from raysearch.space.searched import Searched, read_searched
from raysearch.space.settings import KEYS, ResourceSettings, SchedulerSettings, SearchSettings
from raysearch.space.spec import SearchSpec
from raysearch.space.track_settings import TrackSettings

_T = TypeVar("_T")

Look = Callable[[LoadedTrainable, dict[str, Any]], list[Fault]]
"""Function that returns the faults of a complete base config that only its dataset and its trainable reveal."""


def load_space(
    path: Path,
    set_values: Sequence[str] = (),
    trailing: Sequence[str] = (),
    *,
    cwd: Path | None = None,
    look: Look | None = None,
) -> SearchSpec:
    """Return the search that a space file describes.

    Args:
        path: The space file, or the name of a shipped one; relative paths in it refer to its folder.
        set_values: `key=value` overrides of any section, by dotted path; values are YAML.
        trailing: `a.b.c value` overrides of the config, as the words of a command line.
        cwd: Folder to which relative paths in overrides refer; absent: the working directory.
        look: Function that is called if the file has faults, so that faults of the dataset are raised together with
            them.

    Raises:
        InputError: the file or the overrides have faults.
    """
    source = str(path)
    path = find_space(path)
    document, faults = read_document(path, source, Kind.SPACE, SPACE_KEYS)
    base_dir = Path(os.path.abspath(path)).parent
    given = Given(set_values, trailing, cwd or Path.cwd())
    return _parse(document, base_dir, source, given, faults, look)


def load_space_of_run(path: Path) -> SearchSpec:
    """Return the search that the space file in the folder of a run describes; it may import trusted code alone.

    Raises:
        InputError: the file has faults, or names code that the user does not trust.
    """
    document, faults = read_document(path, str(path), Kind.SPACE, SPACE_KEYS)
    check_trusted(code_of_space(document), path.parent, path.parent)
    return _parse(document, path.parent, str(path), Given((), (), Path.cwd()), faults)


def parse_space(
    document: Mapping[str, Any],
    base_dir: Path,
    source: str = "space",
    set_values: Sequence[str] = (),
    trailing: Sequence[str] = (),
    *,
    cwd: Path | None = None,
    origins: Mapping[Place, str] = MappingProxyType({}),
) -> SearchSpec:
    """Return the search that the content of a space file describes; see `load_space`.

    Args:
        document: The content of the file.
        base_dir: Folder to which relative paths in it refer.
        source: Name of the content in messages.
        set_values: See `load_space`.
        trailing: See `load_space`.
        cwd: See `load_space`.
        origins: Sources of values that come from elsewhere, by place in the document, for messages.

    Raises:
        InputError: the document or the overrides have faults.
    """
    return _parse(document, base_dir, source, Given(set_values, trailing, cwd or Path.cwd()), origins=origins)


def _parse(
    raw: Mapping[str, Any],
    base_dir: Path,
    source: str,
    given: Given,
    found: Sequence[Fault] = (),
    look: Look | None = None,
    origins: Mapping[Place, str] = MappingProxyType({}),
) -> SearchSpec:
    content, in_content = read_values(raw, base_dir, source, given.cwd)
    document, in_overrides = override_document(replace(content, origins=origins), given)
    sections, in_sections = _read_sections(document)
    config, in_config = read_base_config(document, sections.resources or ResourceSettings())
    space, in_space = read_searched(document, config)
    checked, in_checks = cross_check(document, sections.search, sections.scheduler, sections.resources, config, space)

    faults = FaultList(source)
    faults.extend(found)
    for of_phase in (in_content, in_overrides, in_sections, in_config, in_space, in_checks):
        faults.take(of_phase)
    if faults and look is not None and config.trainable is not None and config.values is not None:
        faults.extend(look(config.trainable, config.values))
    faults.raise_any(document.values)
    return _spec(document, sections, config, space, checked)


@dataclass(frozen=True)
class _Sections:
    """The plain sections; None for a section with a fault."""

    name: str
    search: SearchSettings | None
    scheduler: SchedulerSettings | None
    resources: ResourceSettings | None
    track: TrackSettings | None


def _read_sections(document: Document) -> tuple[_Sections, FaultList]:
    faults, values = FaultList(document.source, document.origins), document.values
    sections = _Sections(
        name=_name(values.get("name", Path(document.source).stem), faults),
        search=read_section(values.get("search"), ("search",), SearchSettings, faults),
        scheduler=read_section(values.get("scheduler"), ("scheduler",), SchedulerSettings, faults),
        resources=read_section(values.get("resources"), ("resources",), ResourceSettings, faults),
        track=read_section(values.get("track"), ("track",), TrackSettings, faults),
    )
    return sections, faults


def _name(name: Any, faults: FaultList) -> str:
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str):
        faults.add(("name",), f"{show(name)} is {kind_of(name)}, not text", "write it in quotes")
    elif not name.strip() or name.startswith(".") or not all(c.isprintable() and c not in "/\\" for c in name):
        faults.add(("name",), f"{show(name)} cannot name a folder", "use letters, digits, - and _")
    return str(name)


def _spec(document: Document, sections: _Sections, config: BaseConfig, space: Searched, checked: Checked) -> SearchSpec:
    """Return the search that sections without faults describe."""
    trainable, base = _there(config.trainable), _there(config.values)
    as_run = {"name": sections.name, "trainable": trainable.name, "config": base, "space": space.words}
    values = {**document.values, **as_run}
    return SearchSpec(
        name=sections.name,
        trainable=trainable,
        config=base,
        parameters=tuple(space.parameters),
        objectives=checked.objectives,
        search=_there(sections.search),
        scheduler=_there(sections.scheduler),
        resources=_there(sections.resources),
        track=_there(sections.track),
        document={key: values[key] for key in KEYS if key in values},
        max_iters=checked.max_iters,
        grace_iters=checked.grace_iters,
        constraints=checked.constraints,
        notices=(*config.notices, *checked.idle),
    )


def _there(part: _T | None) -> _T:
    assert part is not None, "a part that cannot be read is a fault"
    return part
