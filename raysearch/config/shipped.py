"""The shipped space files by name: `demo` is `search_spaces/demo.yaml`, in a clone or in an installed package."""

import itertools
import re
from pathlib import Path

from raysearch.errors import Fault, InputError
from trainables.spelling import nearest

FOLDER = Path(__file__).parents[2] / "search_spaces"


def shipped_spaces() -> dict[str, Path]:
    """Return the shipped space files by name, in alphabetical order."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def summary(space: Path) -> str:
    """Return the first sentence of the comment at the top of a shipped space file."""
    comment = itertools.takewhile(lambda line: line.startswith("#"), space.read_text(encoding="utf-8").splitlines())
    return re.split(r"(?<=[.?])\s", " ".join(line.lstrip("# ") for line in comment))[0]


def find_space(path: Path) -> Path:
    """Return the space file at a path, or else the shipped one of that name.

    Raises:
        InputError: there is neither.
    """
    expanded = path.expanduser()
    if expanded.exists():
        return expanded
    shipped = shipped_spaces()
    if str(path) in shipped:
        return shipped[str(path)]
    if path.stem in shipped:
        fix = f"did you mean {path.stem}, which is shipped?"
    else:
        beside = [str(path.with_name(other.name)) for other in sorted(expanded.parent.glob("*.yaml"))]
        fix = nearest(str(path), [*beside, *shipped])
    raise InputError([Fault(str(path), "there is no such file", fix or "check the path")])
