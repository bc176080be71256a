"""The phase of parsing that reads the trainable and the base config."""

import copy
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from raysearch.config.breaches import explain
from raysearch.config.config_files import Beside, ConfigFile, misplaced, misplaced_tasks, read_beside, read_config_file
from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList, Place
from raysearch.config.sections import read_section
from raysearch.config.strict_yaml import kind_of
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, LoadedTrainable, load_trainable
from raysearch.config.values import dumped, plain, show
from raysearch.errors import InputError
from raysearch.space.document import Document
from raysearch.space.settings import DialectReference, ResourceSettings, reference_model
from trainables.dotted_paths import assign, leaves
from trainables.protocol import Dialect, DialectFlags, HasThreads


@dataclass(frozen=True)
class BaseConfig:
    """The trainable and the config that every trial starts from."""

    trainable: LoadedTrainable | None
    """The trainable; None if it cannot be loaded."""
    tree: ConfigTree
    given: dict[str, Any]
    """The nested config as it was given, with absolute paths."""
    values: dict[str, Any] | None
    """The complete config, without invalid values; None if it cannot be completed."""
    notices: Sequence[str]
    origins: Mapping[Place, str]
    """Sources of values that do not come from the space file, by place."""


def read_base_config(document: Document, resources: ResourceSettings) -> tuple[BaseConfig, FaultList]:
    """Return the trainable and the base config, with the overrides of the config applied."""
    faults = FaultList(document.source, document.origins)
    trainable = _trainable(document, faults)
    tree = ConfigTree(trainable.config_model if trainable else None)
    beside = read_beside(document.trailing, tree, document.cwd, faults)
    file = _raw_config(
        document, tree, replace(beside, overrides=[*document.config_overrides, *beside.overrides]), faults
    )
    for override in file.overrides:
        tree.override(file.values, override, document.cwd, ("config",), faults)
    values = _complete(file.values, tree, resources, faults)
    return BaseConfig(trainable, tree, file.values, values, file.notices, faults.origins), faults


def _trainable(document: Document, faults: FaultList) -> LoadedTrainable | None:
    folder = document.folders["trainable"]
    reference = document.values.get("trainable", DEFAULT_TRAINABLE)
    if not isinstance(reference, str):
        what = f"{show(reference)} is {kind_of(reference)}, not text"
        faults.add(("trainable",), what, "write package.module:Name or file.py:Name")
        return None
    file, colon, name = reference.rpartition(":")
    if file.endswith(".py"):
        reference = os.path.abspath(folder / Path(file).expanduser()) + colon + name
    try:
        return load_trainable(reference, folder)
    except InputError as error:
        for fault in error.faults:
            faults.add(("trainable",), f"{fault.where} {fault.what}", fault.fix)
        return None


def _raw_config(document: Document, tree: ConfigTree, beside: Beside, faults: FaultList) -> ConfigFile:
    """Return the values under `config:` of the space file, or of the file that it names, with absolute paths."""
    folder, values = document.folders["config"], document.values.get("config")
    if isinstance(values, str):
        return _config_in_file(values, folder, tree, beside, faults)
    if isinstance(values, dict) and tree.dialect is not None and tree.dialect.name in values:
        return _config_of_dialect(values, folder, tree, tree.dialect, beside, faults)
    faults.extend(misplaced(beside.flags, tree, "config"))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        faults.add(("config",), f"is {kind_of(values)}", "it must be a mapping, or the path to a file that holds one")
        return ConfigFile({}, beside.overrides)
    return ConfigFile(tree.prepare(values, folder, ("config",), faults), beside.overrides)


def _config_in_file(name: str, folder: Path, tree: ConfigTree, beside: Beside, faults: FaultList) -> ConfigFile:
    path = Path(os.path.abspath(folder / Path(name).expanduser()))
    try:
        file = read_config_file(path, str(path), tree, beside)
    except InputError as error:
        faults.extend(error.faults)
        return ConfigFile({}, beside.overrides)
    faults.extend(file.faults)
    faults.note_origin(("config",), str(path))
    for dotted, origin in file.origins.items():
        faults.note_origin(("config", *dotted.split(".")), origin)
    values = plain(file.values, ("config",), faults)
    return file._replace(values=tree.prepare(values, path.parent, ("config",), faults))


def _config_of_dialect(
    values: dict[str, Any], folder: Path, tree: ConfigTree, dialect: Dialect, beside: Beside, faults: FaultList
) -> ConfigFile:
    """Return the config of a file of the dialect and its flags; other values beside the file override it."""
    model = reference_model(dialect)
    named = {key: values[key] for key in model.model_fields if key in values}
    reference = read_section(named, ("config",), model, faults)
    if reference is None:
        return ConfigFile({}, beside.overrides)
    flags = _flags_in_file(reference, folder, dialect, faults)
    if flags is None:
        return ConfigFile({}, beside.overrides)
    own = tree.prepare({key: values[key] for key in values if key not in named}, folder, ("config",), faults)
    joined = DialectFlags(
        given=(*flags.given, *beside.flags.given), passed_over=(*flags.passed_over, *beside.flags.passed_over)
    )
    name = getattr(reference, dialect.name)
    file = _config_in_file(name, folder, tree, replace(beside, flags=joined), faults)
    for path, value in leaves(own):
        faults.note_origin(("config", *path.split(".")), f"{faults.source}: config.{path}")
        assign(file.values, path, value)
    return file


def _flags_in_file(
    reference: DialectReference, folder: Path, dialect: Dialect, faults: FaultList
) -> DialectFlags | None:
    try:
        words = shlex.split(reference.flags) if isinstance(reference.flags, str) else reference.flags
    except ValueError as error:
        faults.add(("config", "flags"), f"{show(reference.flags)}: {error}", "close the quotation, or write a list")
        return None
    flags = dialect.read_flags(words, folder)
    for fault in (*flags.faults, *misplaced_tasks(flags)):
        faults.add(("config", "flags"), f"{fault.where} {fault.what}", fault.fix)
    for word in flags.rest:
        faults.add(
            ("config", "flags"),
            f"{word} does not belong to any flag",
            f"write config values next to the key {dialect.name}",
        )
    return flags


def _complete(
    config: dict[str, Any], tree: ConfigTree, resources: ResourceSettings, faults: FaultList
) -> dict[str, Any] | None:
    """Return the complete base config; invalid values are left out, so that later phases can still check the rest."""
    if tree.model is None:
        return config
    validated = tree.validate(config, ("config",), faults)
    if validated is None:
        stand_in = copy.deepcopy(config)
        try:
            tree.model.model_validate(config, by_name=True)
        except ValidationError as error:
            for breach in explain(error, tree.model, config):
                _remove(stand_in, breach.place)
        validated = tree.validate(stand_in, ("config",), FaultList(""))
        if validated is None:
            return None
    if isinstance(validated, HasThreads) and callable(validated.with_threads):
        threaded = validated.with_threads(resources.num_threads)
        assert isinstance(threaded, BaseModel), "with_threads returns the config it was asked of"
        validated = threaded
    return dumped(validated)


def _remove(config: dict[str, Any], place: Place) -> None:
    for key in place[:-1]:
        below = config.get(key)
        if not isinstance(below, dict):
            break
        config = below
    if place:
        config.pop(place[-1], None)
    else:
        config.clear()
