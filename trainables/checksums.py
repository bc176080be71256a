"""Checksums of all files in a folder, by which a damaged checkpoint is found before anything is loaded from it."""

import json
import zlib
from pathlib import Path

CHECKSUMS_FILE = "checksums.json"
"""File that holds size and CRC-32 of every other file in its folder, by the file's path in the folder."""


def write_checksums(folder: Path) -> None:
    """Write the checksums of the files in a folder."""
    (folder / CHECKSUMS_FILE).write_text(json.dumps(_checksums(folder), indent=1), encoding="ascii")


def damage(folder: Path) -> str | None:
    """Return what is wrong with a folder that holds checksums; None if it is as it was written.

    Nothing is known about a folder of version 0.2 or before, which has no checksums.
    """
    file = folder / CHECKSUMS_FILE
    try:
        if not file.exists():
            return None if folder.is_dir() else "is gone"
        written, found = json.loads(file.read_text(encoding="ascii")), _checksums(folder)
        for name, checksum in written.items():
            if name not in found:
                return f"has no {name}"
            if found[name] != checksum:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, AttributeError) as error:
        return f"cannot be read ({error})"
    return None


def _checksums(folder: Path) -> dict[str, list[int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in files if path != folder / CHECKSUMS_FILE}


def _checksum(path: Path) -> list[int]:
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return [size, checksum]
