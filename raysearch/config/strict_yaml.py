"""Reads and writes YAML without surprises: `1e-4` is a number, a date is text, a repeated key is a fault."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from raysearch.errors import Fault, InputError

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
"""Floats with an exponent; PyYAML itself requires a dot before and a sign after the `e`."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):  # the dumper needs it too: it must quote text that looks like a number
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def read_mapping(path: Path, source: str) -> tuple[dict[Any, Any], list[Fault]]:
    """Return the mapping in a YAML file, or in a JSON file by its suffix, and faults for keys that occur twice.

    Raises:
        InputError: the file cannot be read as text, has a syntax error, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError([Fault(source, "there is no such file", "check the path")]) from None
    except IsADirectoryError:
        raise InputError([Fault(source, "is a folder", "name the file in it")]) from None
    except UnicodeDecodeError as error:
        raise InputError([Fault(source, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")]) from None
    except OSError as error:
        raise InputError([Fault(source, f"cannot be read: {error.strerror}", "check the path")]) from None
    if not text.strip():
        raise InputError([Fault(source, "is empty", "it must be a mapping")])
    faults: list[Fault] = []
    try:
        if path.suffix == ".json":
            document = json.loads(text)
        else:
            document, repeated = _parse(text)
            faults = [
                Fault(f"{source}: line {line}", f"{key} is given a second time", "keep one") for line, key in repeated
            ]
    except json.JSONDecodeError as error:
        raise InputError([Fault(f"{source}: line {error.lineno}", error.msg, "correct the JSON there")]) from None
    except _YamlError as error:
        where = f"{source}: line {error.line}" if error.line else source
        raise InputError([Fault(where, str(error), "correct the YAML there")]) from None
    if not isinstance(document, dict):
        raise InputError([Fault(source, f"is {kind_of(document)}", "it must be a mapping (key: value lines)")])
    return document, faults


def parse_value(text: str) -> Any:
    """Return the value of a piece of YAML, such as the right side of `--set`.

    Raises:
        ValueError: it has a syntax error.
    """
    return _parse(text)[0]


def reads_as_text(word: str) -> bool:
    """Return True if YAML reads the unquoted word as text, not as a number or a truth value, for example."""
    try:
        return bool(parse_value(word) == word)
    except ValueError:
        return False


def missing_quotes(value: Any, texts: Iterable[Any]) -> str:
    """Return the fix for a value that YAML reads as one of some texts if that is quoted; empty if there is none."""
    for text in texts:
        if isinstance(text, str) and not reads_as_text(text):
            read = parse_value(text)
            if type(read) is type(value) and read == value:
                return f'write "{text}" in quotes: without them, YAML reads it as {kind_of(value)}'
    return ""


def dump(document: dict[str, Any], *, compact: bool = False) -> str:
    """Return YAML text that `read_mapping` reads as an equal mapping; keys keep their order.

    In compact text, a collection that only contains plain values is on one line.
    """
    flow = None if compact else False
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=flow)


def kind_of(value: Any) -> str:
    """Return the kind of a YAML value in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"a {type(value).__name__}"


class _YamlError(ValueError):
    def __init__(self, line: int | None, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def _parse(text: str) -> tuple[Any, list[tuple[int, str]]]:
    """Return the value, and the line and the name of every repeated key."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, []
        repeated = list(_repeated_keys(node, set()))  # before construction, which adds merged keys to the nodes
        return loader.construct_document(node), repeated
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "is not valid YAML"
        raise _YamlError(mark.line + 1 if mark else None, problem) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _YamlError(line, f"holds the character {error.character!r}, which YAML does not allow") from None
    except ValueError as error:  # the text does not fit its explicit tag, as in `!!int x`
        raise _YamlError(None, str(error)) from None
    except RecursionError:
        raise _YamlError(None, "is nested too deeply") from None


def _repeated_keys(node: yaml.Node, seen: set[int]) -> Iterator[tuple[int, str]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    yield key.start_mark.line + 1, key.value
                keys.add((key.tag, key.value))
            yield from _repeated_keys(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value, seen)
