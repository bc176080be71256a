"""Code and trackers that may be used although only a run folder or a config names them.

A space file that the user gives to a command is a program of the user's choice, like a script. A run folder or an
exported config may come from anyone. The trainable or the sampler that it names is imported only if it ships with
raysearch, or stands in the user's own list, and a tracker gets data from a resumed search only if it stands there.
`raysearch run` and `raysearch trust` add to this list.
"""

import importlib.util
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysearch.config.shipped import FOLDER
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE
from raysearch.errors import Fault, InputError

_SHIPPED_SAMPLERS = ("optuna.samplers", "raysearch.algorithms")
"""Packages whose samplers need no word of the user."""


def code_of_space(document: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the references in the content of a space file: those of its trainable and of its sampler."""
    search = document.get("search")
    algorithm = search.get("algorithm") if isinstance(search, Mapping) else None
    named = (document.get("trainable", DEFAULT_TRAINABLE), algorithm)
    return tuple(name for name in named if isinstance(name, str) and ("." in name or ":" in name))


def named_by_space(document: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the references in the content of a space file, and the address of its tracker."""
    track = document.get("track")
    address = track.get("mlflow") if isinstance(track, Mapping) else None
    return (*code_of_space(document), *([address] if isinstance(address, str) else []))


def check_trusted(references: Iterable[str], folder: Path, source: Path) -> None:
    """Check that nothing will be imported or contacted that the user does not trust.

    Args:
        references: References of trainables and samplers, and addresses of trackers.
        folder: Folder to which relative paths in them refer.
        source: Run folder or config that names them, which `raysearch trust` takes.

    Raises:
        InputError: a reference names something that neither ships with raysearch nor was used or allowed by the user.
    """
    known = _listed()
    fix = f"if you have looked at it and trust it, allow it by `raysearch trust {shlex.quote(str(source))}`"
    faults = [
        Fault(str(source), f"names {_kind(reference)} before: {_place(reference, folder)}", fix)
        for reference in references
        if not _is_shipped(reference, folder) and _place(reference, folder) not in known
    ]
    if faults:
        raise InputError(faults)


def trust(references: Iterable[str], folder: Path) -> list[str]:
    """Add code and trackers to the user's list, and return their places: of all that does not ship with raysearch.

    Raises:
        InputError: the list cannot be written.
    """
    places = [_place(reference, folder) for reference in references if not _is_shipped(reference, folder)]
    known = _listed()
    new = "".join(f"{json.dumps(place)}\n" for place in dict.fromkeys(places) if place not in known)
    if new:
        file = _list_file()
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(opened, new.encode())
            finally:
                os.close(opened)
        except OSError as error:
            what = f"cannot be written ({error.strerror})"
            raise InputError([Fault(str(file), what, "set XDG_CONFIG_HOME to a folder of yours")]) from None
    return places


def _list_file() -> Path:
    """Return the file of the user's list, with the place of trusted code, or an address, as JSON text on each line."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    config = Path(given) if os.path.isabs(given) else Path("~/.config").expanduser()
    return config / "raysearch" / "trusted"


def _listed() -> frozenset[str]:
    try:
        lines: Sequence[str] = _list_file().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return frozenset()
    return frozenset(place for line in lines if isinstance(place := _text_of(line), str))


def _text_of(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_address(reference: str) -> bool:
    return "://" in reference or reference.startswith("databricks")


def _kind(reference: str) -> str:
    return "a tracker that you have not used" if _is_address(reference) else "code that you have not run"


def _module_of(reference: str) -> str:
    return reference.rpartition(":" if ":" in reference else ".")[0]


def _is_shipped(reference: str, folder: Path) -> bool:
    if _is_address(reference):
        return False
    module = _module_of(reference)
    if module.endswith(".py"):
        return Path(_place(reference, folder)).is_relative_to(FOLDER.resolve())
    is_sampler = any(f"{module}.".startswith(f"{package}.") for package in _SHIPPED_SAMPLERS)
    return reference == DEFAULT_TRAINABLE or is_sampler


def _place(reference: str, folder: Path) -> str:
    """Return where a reference leads, without importing anything: a file, or a module and the place of its package."""
    if _is_address(reference):
        return reference
    module = _module_of(reference)
    if module.endswith(".py"):
        return str((folder / Path(module).expanduser()).resolve())
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (AttributeError, ImportError, ValueError):
        spec = None
    found = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
    place = next(filter(None, found), "nowhere")
    return f"module {module} in {os.path.realpath(place)}"
