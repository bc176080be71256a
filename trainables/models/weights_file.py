"""Reading of weight files without running their code, and a diagnosis of files that hold no weights."""

import argparse
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdSU"},
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
]
"""Types that trainers store beside the weights (arguments, scores) and that run no code when they are read."""

_SAVE_STATE_DICT = "save only its state dict, where it was trained: torch.save(model.state_dict(), FILE)"
_DOWNLOAD = "download it again"


class NoWeightsError(ValueError):
    """The file holds no weights. The exception says what the file is and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


def read_weights_file(path: Path) -> Any:
    """Return what `torch.save` wrote, or the tensors of a safetensors file, regardless of the file's extension.

    Raises:
        NoWeightsError: the file is something else, is damaged, or cannot be read without running code.
    """
    with path.open("rb") as file:
        head = file.read(512)
    known = _what_it_is(path, head)
    if known is not None:
        raise NoWeightsError(*known)
    try:
        if _is_safetensors(head):
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers raise almost any exception on other files
        raise NoWeightsError(*_why_unreadable(path, head, error)) from error


def _what_it_is(path: Path, head: bytes) -> tuple[str, str] | None:
    """Return what a file without weights is, by its first bytes, and how to get the weights; else None."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "it is empty", _DOWNLOAD
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        fix = "download the file itself; links to it often say raw, resolve or download where the page's say blob"
        return "it is a web page that was saved under this name", fix
    if start.startswith(b"version https://git-lfs"):
        fix = "run git lfs pull in the repository that it comes from, or download the file itself"
        return "it is the pointer that git LFS leaves in place of a large file", fix
    if start.startswith(b"\x1f\x8b") or tarfile.is_tarfile(path):
        return "it is a packed archive", "unpack it and give the weights in it"
    if start.startswith((b"\x89hdf", b"\x93numpy")):
        return "it is a file of another framework", "convert it to a PyTorch state dict"
    try:
        return _what_zip_it_is(path) if zipfile.is_zipfile(path) else None
    except Exception as error:  # readers of archives raise almost any exception on damaged ones
        return f"it is a damaged archive ({error})", _DOWNLOAD


def _what_zip_it_is(path: Path) -> tuple[str, str] | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return "it is a TorchScript program, not only weights", _SAVE_STATE_DICT
    if any(name.endswith("data.pkl") for name in names):  # the format of torch.save
        damaged = damaged_entry(path)
        return None if damaged is None else (f"it is damaged: {damaged} does not match its checksum", _DOWNLOAD)
    first = f" (of {', '.join(names[:2])}{' and more' if len(names) > 2 else ''})" if names else ""
    return f"it is a zip archive of other files{first}", "unpack it and give the weights in it"


def damaged_entry(path: Path) -> str | None:
    """Return the first entry of a file of `torch.save` that does not match its checksum, which torch does not compare.

    Raises:
        BadZipFile, zlib.error: the file is damaged in another way.
    """
    if not zipfile.is_zipfile(path):  # torch.save wrote no archives before version 1.6
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 1 << 32


def _why_unreadable(path: Path, head: bytes, error: Exception) -> tuple[str, str]:
    """Return why a file that may hold weights cannot be read, and what to do about it."""
    if head.startswith(b"PK") or _is_safetensors(head):
        if head.startswith(b"PK") and zipfile.is_zipfile(path) and (classes := _classes_in(path)):
            return f"reading it would run code ({classes}), which raysearch never does", _SAVE_STATE_DICT
        return f"it is incomplete or damaged ({_first_sentence(error)})", _DOWNLOAD
    if head.startswith(b"\x80"):
        classes = _classes_in(path)
        if classes:
            return f"reading it would run code ({classes}), which raysearch never does", _SAVE_STATE_DICT
        return "it is a pickle that torch.save did not write, or is incomplete", _SAVE_STATE_DICT
    text = head.decode("utf-8", errors="ignore")
    if text and all(character.isprintable() or character.isspace() for character in text):
        return f"it is a text file that begins with {json.dumps(text.splitlines()[0][:40])}", "give a file of weights"
    return "it is neither a file of torch.save nor of safetensors", "give one of these"


def _classes_in(path: Path) -> str:
    """Return the names of the classes and functions that a file would run, at most three of them."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # even the list cannot be read
        return ""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _first_sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0]


def state_dicts(content: Any, path: str = "") -> dict[str, dict[str, torch.Tensor]]:
    """Return every mapping of names to tensors in a file, by the keys that it lies under.

    A trainer's file also holds other things, such as an optimiser's state. Their keys are numbers, or they are not
    used.
    """
    if not isinstance(content, Mapping):
        return {}
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value for key, value in named.items() if isinstance(value, torch.Tensor)}
    found = {path: tensors} if tensors else {}
    for key, value in named.items():
        found |= state_dicts(value, f"{path}.{key}" if path else key)
    return found
