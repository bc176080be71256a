"""The seed and the number of threads in a trial config, wherever the config holds them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from raysearch.config.values import dumped
from trainables.dotted_paths import leaves, lookup
from trainables.protocol import HasSeed, HasThreads


class Held(NamedTuple):
    """A value that a config holds."""

    path: str
    """Dotted path of the value."""
    value: Any


def seed_of(model: type[BaseModel] | None, config: Mapping[str, Any]) -> Held | None:
    """Return the seed of a nested config; None if its model has no `with_seed` or the config breaks a rule."""
    if model is None or not issubclass(model, HasSeed):
        return None
    try:
        validated = model.model_validate(config, by_name=True)
    except ValidationError:
        return None  # the validation of the config reports what is wrong
    return _changed_by(validated.with_seed, config)


def threads_of(model: type[BaseModel] | None, config: Mapping[str, Any]) -> Held | None:
    """Return the number of threads of a nested config; None if its model has no `with_threads` or no defaults."""
    if model is None or not issubclass(model, HasThreads):
        return None
    try:
        default = model()
    except ValidationError:
        return None  # threads are only filled in if the defaults leave them open
    return _changed_by(default.with_threads, config)


def _changed_by(change: Callable[[int], Any], config: Mapping[str, Any]) -> Held | None:
    """Return the value of the config at the path that a change to 1 and a change to 2 set differently."""
    one, other = (dict(leaves(dumped(change(number)))) for number in (1, 2))
    path = next((path for path in one if one[path] != other.get(path)), None)
    return None if path is None else Held(path, lookup(config, path, None))
