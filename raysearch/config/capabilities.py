"""Checks that a trainable declares its capabilities with the signatures by which a search calls them."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

from trainables.protocol import CONFIG_CAPABILITIES, TRAINABLE_CAPABILITIES


def signature_faults(target: Any, model: type[BaseModel] | None) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each declared method of a trainable and of its config model, and the fix."""
    for capability in TRAINABLE_CAPABILITIES:
        if isinstance(target, capability):
            for name, method in _methods(capability):
                yield from _faults(target, name, method, name)
    if model is None:
        return
    for capability in CONFIG_CAPABILITIES:
        for name, method in _methods(capability):
            if hasattr(model, name):  # a field of the model is not an attribute of the class
                yield from _faults(model, name, method, f"Config.{name}")


def _methods(capability: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the methods of a protocol; class methods are bound, as they are where they are called."""
    for name in vars(capability):
        if not name.startswith("_") and callable(getattr(capability, name)):
            yield name, getattr(capability, name)


def _faults(owner: Any, name: str, wanted: Callable[..., Any], words: str) -> Iterator[tuple[str, str]]:
    given = getattr(owner, name)
    is_of_class = inspect.ismethod(wanted)
    form = f"@classmethod {name}{_parameters(wanted, 'cls')}" if is_of_class else f"{name}{_parameters(wanted)}"
    if not callable(given):
        yield f"its {words} is {given!r}, not a method", f"declare {form}"
        return
    try:
        signature = inspect.signature(given)
        signature.bind(*inspect.signature(wanted).parameters)
    except TypeError:
        yield f"its {words} is declared as {name}{signature}, which a search cannot call", f"declare {form}"
    except ValueError:
        return  # a method written in C has no signature


def _parameters(method: Callable[..., Any], *first: str) -> str:
    return f"({', '.join((*first, *inspect.signature(method).parameters))})"
