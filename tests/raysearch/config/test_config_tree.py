from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from raysearch.config.config_tree import ConfigTree
from trainables.config import Config
from trainables.dotted_paths import ABSENT, assign, lookup, with_values


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = Field(0.1, gt=0)


class Other(BaseModel):
    momentum: float = 0.9


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int = 1


class Model(BaseModel):
    optim: Inner | Other | None = None
    inner: Inner = Inner()
    free: Open = Open()
    files: list[str] = Field([], json_schema_extra={"path": True, "words": ["none"]})


def test_lookup_assign_and_copies() -> None:
    config: dict[str, Any] = {"a": {"b": 1}, "c": None}
    assert (lookup(config, "a.b"), lookup(config, "c"), lookup(config, "a.b.c"), lookup(config, "x")) == (
        1,
        None,
        ABSENT,
        ABSENT,
    )
    copied = with_values(config, {"a.d": 2, "c.e": 3})
    assert copied == {"a": {"b": 1, "d": 2}, "c": {"e": 3}}
    assert config == {"a": {"b": 1}, "c": None}
    assign(config, "a", 5)
    assert config == {"a": 5, "c": None}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("inner.rate", "value"),
        ("optim.rate", "value"),
        ("optim.momentum", "value"),
        ("inner", "section"),
        ("optim", "section"),
        ("free.anything.goes", "value"),
        ("files", "value"),
        ("files.x", "unknown"),
        ("inner.x", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_a_path_names(path: str, kind: str) -> None:
    assert ConfigTree(Model).resolve(path).kind == kind


def test_all_paths_of_the_config_are_values_with_the_right_spelling() -> None:
    tree = ConfigTree(Config)
    assert len(tree.paths) == len(set(tree.paths)) > 50
    dumped = Config().model_dump()
    assert all(tree.resolve(path).kind == "value" and lookup(dumped, path) is not ABSENT for path in tree.paths)
    assert tree.resolve("data.label_list").path == "data.label_class_ids"


def test_path_fields_and_their_words() -> None:
    tree = ConfigTree(Model)
    assert tree.absolute("files", ["a", "none", "/b"], Path("/base")) == ["/base/a", "none", "/b"]
    assert tree.absolute("inner.rate", "a", Path("/base")) == "a"
