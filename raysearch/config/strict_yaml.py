"""Reads and writes YAML without surprises: `1e-4` is a number, a date is text, a repeated key is a fault.

A document is limited in size, in depth and in its values, so that no file and no value on a command line can occupy the
machine or end in an error far from its cause.
"""

import json
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from raysearch.errors import Fault, InputError

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
"""Floats with an exponent; PyYAML itself requires a dot before and a sign after the `e`."""


MAX_BYTES = 2**19
"""Largest size of a document; space files and configs take a few thousand bytes."""
MAX_VALUES = 10_000
"""Largest number of values of a document; one that aliases repeat counts every time."""
MAX_DEPTH = 32
"""Largest number of lists and mappings inside each other."""
_MAX_INT = 2**63
"""Whole numbers must be smaller, since NumPy, pyarrow and torch hold no larger ones."""


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
        InputError: the file cannot be read as text, has a syntax error, is beyond a limit, or is not a mapping.
    """
    try:
        text = _read_text(path)
    except FileNotFoundError:
        raise InputError([Fault(source, "there is no such file", "check the path")]) from None
    except IsADirectoryError:
        raise InputError([Fault(source, "is a folder", "name the file in it")]) from None
    except UnicodeDecodeError as error:
        raise InputError([Fault(source, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")]) from None
    except OSError as error:
        raise InputError([Fault(source, f"cannot be read: {error.strerror}", "check the path")]) from None
    except LimitError as error:
        raise InputError([Fault(source, str(error), "check that it is the right file")]) from None
    except ValueError as error:
        raise InputError([Fault(source, f"cannot be read: {error}", "check the path")]) from None
    if not text.strip():
        raise InputError([Fault(source, "is empty", "it must be a mapping")])
    faults: list[Fault] = []
    try:
        if path.suffix == ".json":
            document = json.loads(text)
            check_limits(document)
        else:
            document, repeated = _parse(text)
            faults = [
                Fault(f"{source}: line {line}", f"{key} is given a second time", "keep one") for line, key in repeated
            ]
    except json.JSONDecodeError as error:
        raise InputError([Fault(f"{source}: line {error.lineno}", error.msg, "correct the JSON there")]) from None
    except (LimitError, RecursionError) as error:
        what = str(error) if isinstance(error, LimitError) else _TOO_DEEP
        raise InputError([Fault(source, what, "correct the file")]) from None
    except _YamlError as error:
        where = f"{source}: line {error.line}" if error.line else source
        raise InputError([Fault(where, str(error), "correct the YAML there")]) from None
    except ValueError:  # json.loads converts no number of more than 4,300 digits
        raise InputError([Fault(source, _TOO_LONG, "correct the file")]) from None
    if not isinstance(document, dict):
        raise InputError([Fault(source, f"is {kind_of(document)}", "it must be a mapping (key: value lines)")])
    return document, faults


def parse_value(text: str) -> Any:
    """Return the value of a piece of YAML, such as the right side of `--set`.

    Raises:
        ValueError: it has a syntax error or is beyond a limit.
    """
    if len(text) > MAX_BYTES:
        raise LimitError(f"has {len(text)} characters, and a document has at most {MAX_BYTES}")
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


class LimitError(ValueError):
    """A document that is beyond a limit; the message continues the document's name."""


_TOO_DEEP = f"is nested too deeply: at most {MAX_DEPTH} lists and mappings can be inside each other"


_TOO_LONG = "holds a whole number with too many digits: whole numbers must be below 2^63"


def _read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        LimitError: it is too large, or is a device, whose reading may never end.
        OSError, ValueError: it cannot be read, or its path holds a NUL.
    """
    mode, size = path.stat().st_mode, path.stat().st_size
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise LimitError("is not a file")
    if size > MAX_BYTES:
        raise LimitError(f"has {size} bytes, and a document has at most {MAX_BYTES}")
    return path.read_text(encoding="utf-8-sig")


def check_limits(document: Any) -> None:
    """Check the size, the depth, the numbers and the characters of a document of plain values.

    Raises:
        LimitError: one of them is beyond its limit.
    """
    num_values = 0
    waiting: list[tuple[Any, int]] = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        num_values += 1
        if num_values > MAX_VALUES:
            raise LimitError(f"has too many values: at most {MAX_VALUES} are read")
        if depth > MAX_DEPTH:
            raise LimitError(_TOO_DEEP)
        if isinstance(value, dict):
            waiting += ((key, depth) for key in value)
            waiting += ((below, depth + 1) for below in value.values())
        elif isinstance(value, list):
            waiting += ((below, depth + 1) for below in value)
        elif isinstance(value, int) and abs(value) >= _MAX_INT:
            raise LimitError(_TOO_LONG)
        elif isinstance(value, str) and (bad := _BAD_CHARACTER.search(value)):
            raise LimitError(f"holds the character U+{ord(bad[0]):04X}, which is not text")


_BAD_CHARACTER = re.compile("[\\x00\ud800-\udfff]")
"""NUL, which ends a text elsewhere, and half of a character in UTF-16, which no file can hold."""


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
        _check_nodes(node)  # before construction, which repeats what a merge key names
        repeated = list(_repeated_keys(node, set()))  # before construction, which adds merged keys to the nodes
        document = loader.construct_document(node)
        check_limits(document)
        return document, repeated
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "is not valid YAML"
        raise _YamlError(mark.line + 1 if mark else None, problem) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _YamlError(line, f"holds the character {_named(error.character)}, which YAML does not allow") from None
    except LimitError:
        raise
    except ValueError as error:  # the text does not fit its explicit tag, as in `!!int x`
        is_long = "integer string conversion" in str(error)
        raise _YamlError(None, _TOO_LONG if is_long else str(error)) from None
    except RecursionError:
        raise LimitError(_TOO_DEEP) from None


def _named(character: str | int) -> str:
    """Return a character, of which PyYAML gives either itself or its number, by its number."""
    return f"U+{character if isinstance(character, int) else ord(character):04X}"


def _check_nodes(node: yaml.Node) -> None:
    """Check the depth of a document and the number of its values, with every alias written out.

    Raises:
        LimitError: one of them is beyond its limit, or a value contains itself.
    """
    sizes: dict[int, int] = {}
    inside: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in inside:
            raise LimitError(f"line {node.start_mark.line + 1}: contains itself")
        if depth > MAX_DEPTH:
            raise LimitError(_TOO_DEEP)
        if id(node) not in sizes:
            inside.add(id(node))
            children = (
                [child for pair in node.value for child in pair]
                if isinstance(node, yaml.MappingNode)
                else (node.value if isinstance(node, yaml.SequenceNode) else [])
            )
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in children)
            inside.remove(id(node))
        if sizes[id(node)] > MAX_VALUES:
            raise LimitError(f"has too many values: at most {MAX_VALUES} are read")
        return sizes[id(node)]

    size(node, 0)


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
