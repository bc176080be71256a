"""Checkpoints that a trainable returns as a dictionary, in a format that holds values alone and can run no code.

`checkpoint.json` holds the tree of containers, numbers and text; arrays are in `arrays.npz`, tensors in `tensors.pt`. A
container stands there as a list that begins with the name of its type.
"""

import base64
import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.errors import Fault, InputError

_TREE, _ARRAYS, _TENSORS = "checkpoint.json", "arrays.npz", "tensors.pt"
_PICKLE = "checkpoint.pkl"
"""File in which versions before 0.3 wrote the dictionary as a pickle."""

_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
_MAPPINGS: dict[type, str] = {dict: "dict", OrderedDict: "ordered"}


def write(values: Mapping[Any, Any], folder: Path) -> None:
    """Write a dictionary into the folder of a checkpoint.

    Raises:
        InputError: it holds an object of a class that the format does not know.
    """
    arrays: list[Any] = []
    tensors: list[Any] = []
    tree = _encoded(values, arrays, tensors, "")
    (folder / _TREE).write_text(json.dumps(tree), encoding="utf-8")
    if arrays:
        np.savez(folder / _ARRAYS, **{str(place): array for place, array in enumerate(arrays)}, allow_pickle=False)
    if tensors:
        import torch  # late: a trainable without tensors may do without

        torch.save(tensors, folder / _TENSORS)


def holds_one(folder: Path) -> bool:
    """Return True if the folder of a checkpoint holds a dictionary.

    Raises:
        InputError: the dictionary is a pickle, which could run code.
    """
    if (folder / _TREE).is_file():
        return True
    if (folder / _PICKLE).is_file():
        what = "is a pickle, as versions before 0.3 wrote it; it is not loaded, because it could run any code"
        raise InputError([Fault(str(folder / _PICKLE), what, "train again in a new folder")])
    return False


def read(folder: Path) -> Any:
    """Return the dictionary in the folder of a checkpoint."""
    tree = json.loads((folder / _TREE).read_text(encoding="utf-8"))
    tensors: Sequence[Any] = ()
    if (folder / _TENSORS).is_file():
        import torch

        tensors = torch.load(folder / _TENSORS, weights_only=True)
    if not (folder / _ARRAYS).is_file():
        return _decoded(tree, {}, tensors)
    with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
        return _decoded(tree, arrays, tensors)


def _encoded(value: Any, arrays: list[Any], tensors: list[Any], place: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in _SEQUENCES:
        return [_SEQUENCES[kind], *(_encoded(one, arrays, tensors, f"{place}[{n}]") for n, one in enumerate(value))]
    if kind in _MAPPINGS:
        pairs = (
            [_encoded(key, arrays, tensors, f"{place} (a key)"), _encoded(one, arrays, tensors, f"{place}[{key!r}]")]
            for key, one in value.items()
        )
        return [_MAPPINGS[kind], *pairs]
    if kind in (bytes, bytearray):
        return [kind.__name__, base64.b64encode(value).decode()]
    if (kind is np.ndarray or isinstance(value, np.generic)) and not value.dtype.hasobject:
        arrays.append(value)
        return ["array" if kind is np.ndarray else "number", len(arrays) - 1]
    torch = sys.modules.get("torch")
    if torch is not None and kind in (torch.Tensor, torch.nn.Parameter):
        tensors.append(value)
        return ["tensor", len(tensors) - 1]
    name = f"{kind.__module__}.{kind.__qualname__}"
    what = f"is a {name}, which cannot be stored without code"
    fix = "return its state as numbers, text, lists, dictionaries, arrays or tensors, or write files into the folder"
    raise InputError([Fault(f"save_checkpoint(){place}", what, fix)])


def _decoded(tree: Any, arrays: Mapping[str, Any], tensors: Sequence[Any]) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, *rest = tree

    def below() -> list[Any]:
        return [_decoded(one, arrays, tensors) for one in rest]

    def pairs() -> list[tuple[Any, Any]]:
        return [(_decoded(key, arrays, tensors), _decoded(value, arrays, tensors)) for key, value in rest]

    build: dict[str, Callable[[], Any]] = {
        "list": below,
        "tuple": lambda: tuple(below()),
        "set": lambda: set(below()),
        "frozenset": lambda: frozenset(below()),
        "dict": lambda: dict(pairs()),
        "ordered": lambda: OrderedDict(pairs()),
        "bytes": lambda: base64.b64decode(rest[0]),
        "bytearray": lambda: bytearray(base64.b64decode(rest[0])),
        "array": lambda: arrays[str(rest[0])],
        "number": lambda: arrays[str(rest[0])][()],
        "tensor": lambda: tensors[rest[0]],
    }
    return build[kind]()
