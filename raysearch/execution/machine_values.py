"""Values of a config that are chosen by a measurement on this machine, once for a whole search."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from raysearch.config.trainable_loading import LoadedTrainable
from raysearch.config.values import dumped
from raysearch.space.spec import SearchSpec
from trainables.dotted_paths import leaves
from trainables.protocol import ChoosesOnMachine


def on_this_machine(spec: SearchSpec) -> tuple[SearchSpec, list[str]]:
    """Return the search with such values filled in, and a notice about each of them.

    Raises:
        InputError: the measurement is not possible.
    """
    config, notices = config_on_this_machine(spec.trainable, spec.trainable.config_of(spec.config))
    if not notices:
        return spec, []
    values = dumped(config)
    return replace(spec, config=values, document={**spec.document, "config": values}), notices


def config_on_this_machine(trainable: LoadedTrainable, config: Any) -> tuple[Any, list[str]]:
    """Return one config with such values filled in, and a notice about each of them."""
    target: Any = trainable.target
    if not (isinstance(target, ChoosesOnMachine) and isinstance(config, BaseModel)):
        return config, []
    filled = target.on_this_machine(config)
    before, after = (dict(leaves(dumped(one))) for one in (config, filled))
    return filled, [
        f"{path}: {before.get(path)} is {value} on this machine"
        for path, value in after.items()
        if value != before.get(path)
    ]
