"""A right space file, its trainables, and helpers that change it and read it."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raysearch.errors import InputError
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

TRAINABLES = """
import trainables.config
from pathlib import Path
from pydantic import BaseModel, Field

class T:
    Config = trainables.config.Config
    METRICS = frozenset({"miou", "loss"})
    DRAWN_METRICS = frozenset({"miou"})
    EVALUATED = frozenset({"miou"})

    @classmethod
    def evaluate(cls, config, checkpoint, split, progress):
        return {"miou": 0.5}

class Settings(BaseModel):
    lr: float = Field(0.1, gt=0)
    folder: Path | None = None
    extra: dict = {}
    shape: str = "round"

class Small:
    Config = Settings

class Needs(BaseModel):
    lr: float

class Needy:
    Config = Needs

def anything(config):
    pass
"""

BASE: dict[str, Any] = {
    "name": "camvid",
    "trainable": "t.py:T",
    "config": {"train": {"max_iters": 4500, "report_iters": 100}},
    "space": {
        "contrast.temperature": {"type": "float", "low": 0.05, "high": 0.5, "log": True},
        "contrast.max_views": {"type": "int", "low": 1, "high": 256, "log": True},
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.memory_size": {"type": "int", "low": 500, "high": 5000, "when": {"contrast.memory": True}},
    },
    "objective": {"metric": "miou", "mode": "max"},
    "search": {"algorithm": "tpe", "trials": 8, "seed": 0},
    "scheduler": {"name": "asha", "grace_iters": 500, "reduction_factor": 3},
    "resources": {"cpu": 1, "gpu": 0, "concurrent": "auto"},
}

SEVERAL = [BASE["objective"], {"metric": "loss", "mode": "min"}, {"metric": "peak_memory_bytes", "mode": "min"}]


def changed(**changes: Any) -> dict[str, Any]:
    """Return the base document with whole keys replaced, or removed by None; `a__b` reaches one level down."""
    document = copy.deepcopy(BASE)
    for name, value in changes.items():
        key, _, below = name.partition("__")
        target, last = (document[key], below) if below else (document, key)
        if value is None:
            target.pop(last, None)
        else:
            target[last] = value
    return document


def spec_of(folder: Path, document: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any) -> SearchSpec:
    return parse_space(BASE if document is None else document, folder, "space.yaml", *args, **kwargs)


def faults_of(folder: Path, document: Mapping[str, Any], *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        spec_of(folder, document, *args, **kwargs)
    return [str(fault) for fault in caught.value.faults]


def searching(path: str, words: Any, **changes: Any) -> dict[str, Any]:
    return changed(space={path: words}, **changes)
