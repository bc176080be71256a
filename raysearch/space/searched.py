"""The phase of parsing that reads the searched values of a space file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList, Place
from raysearch.config.overrides import Override
from raysearch.config.strict_yaml import kind_of
from raysearch.errors import Fault
from raysearch.space.base_config import BaseConfig
from raysearch.space.document import Document
from raysearch.space.parameters import Parameter, read_parameters
from trainables.spelling import nearest


@dataclass(frozen=True)
class Searched:
    """The searched values of a space file."""

    words: dict[str, Any]
    """Words of each searched path, such as `{type: int, low: 1, high: 8}`; aliases are replaced by the field's name."""
    parameters: Sequence[Parameter]
    """Parameters without faults."""
    origins: Mapping[Place, str]
    """Sources of values that do not come from the file, by place."""


def read_searched(document: Document, config: BaseConfig) -> tuple[Searched, FaultList]:
    """Return the searched values, with their overrides applied."""
    faults = FaultList(document.source, config.origins)
    words = _raw_space(document, config.tree, faults)
    for override in document.space_overrides:
        _override_space(words, override, document.cwd, config.tree, faults)
    parameters = read_parameters(words, config.tree, faults)
    return Searched(words, parameters, faults.origins), faults


def _raw_space(document: Document, tree: ConfigTree, faults: FaultList) -> dict[str, Any]:
    """Return the content of `space:` by path, with aliases resolved and with absolute paths among the choices."""
    folder = document.folders["space"]
    values = document.values.get("space")
    if values is None:
        return {}
    if not isinstance(values, dict):
        faults.add(("space",), f"is {kind_of(values)}", "it must be a mapping of dotted paths to what is searched")
        return {}
    searched: dict[str, Any] = {}
    for key, words in values.items():
        path = tree.resolve(key).path
        if path in searched:
            faults.add(("space", key), f"is another name of {path}, which is also searched", "keep one")
        searched[path] = _absolute_words(path, words, folder, tree)
    return searched


def _absolute_words(path: str, words: Any, folder: Path, tree: ConfigTree) -> Any:
    if not isinstance(words, dict):
        return words
    absolute = dict(words)
    if isinstance(words.get("choices"), list):
        absolute["choices"] = tree.absolute(path, words["choices"], folder)
    if isinstance(words.get("when"), dict):
        absolute["when"] = {
            tree.resolve(gate).path: tree.absolute(gate, value, folder) for gate, value in words["when"].items()
        }
    return absolute


def _override_space(
    searched: dict[str, Any], override: Override, cwd: Path, tree: ConfigTree, faults: FaultList
) -> None:
    """Set one word of one searched path in place; since paths contain dots, the longest path that fits is taken."""
    fitting = [path for path in searched if f"{override.path}.".startswith(f"{path}.")]
    path = max(fitting, key=len, default=override.path)
    key, _, gate = override.path[len(path) + 1 :].partition(".")
    words = searched.get(path)
    if not key and (fitting or isinstance(override.value, dict)):
        searched[path] = _absolute_words(path, override.value, cwd, tree)
        faults.note_origin(("space", path), override.text)
    elif not fitting:
        what = f"{path.rpartition('.')[0] or path} is not searched"
        faults.extend([Fault(override.text, what, nearest(path.rpartition(".")[0], searched))])
    elif not isinstance(words, dict) or (gate and not (key == "when" and isinstance(words.get(key, {}), dict))):
        faults.extend([Fault(override.text, f"{path} has no {key}.{gate}".rstrip("."), "set it as a whole")])
    else:
        value = {**words.get(key, {}), gate: override.value} if gate else override.value
        searched[path] = {**words, **_absolute_words(path, {key: value}, cwd, tree)}
        faults.note_origin(("space", path, key), override.text)
