"""Replaces files and folders as a whole: after a kill or a power cut, the old or the new content is there.

New content is written beside its place, forced to the disk, and only then renamed. A kill leaves hidden leftovers
beside it: `.NAME.part` is content that never came into place, `.NAME.before` a folder that was about to be replaced.
The next replacement clears both up; a caller that reads the folder first calls `recover_folder`.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Provide the path of a temporary file to write; it replaces `path` when the block ends without an exception."""
    part = _part(path)
    try:
        yield part
        sync(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace the content of a file by `text`, in UTF-8."""
    with replaced_file(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Provide an empty temporary folder to write into; it replaces `path` when the block ends without an exception.

    Missing parents are created.
    """
    recover_folder(path)
    part = _part(path)
    part.mkdir(parents=True)
    try:
        yield part
        put_folder(part, path)
    except BaseException:
        recover_folder(path)
        raise


def put_folder(part: Path, path: Path) -> None:
    """Force a folder that was written beside `path` to the disk, and put it into the place of `path`."""
    _bring_back(path)
    before = _before(path)
    for folder, _, files in os.walk(part, topdown=False):
        for name in files:
            if (file := Path(folder, name)).is_file():  # not the target of a broken link
                sync(file)
        sync(Path(folder))
    if path.exists():
        path.rename(before)
    part.rename(path)
    sync(path.parent)
    shutil.rmtree(before, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Clear up after a kill within a replacement of `path`: bring the old folder back unless the new one is there."""
    _bring_back(path)
    shutil.rmtree(_part(path), ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(opened)


def _bring_back(path: Path) -> None:
    before = _before(path)
    if before.exists() and not path.exists():
        before.rename(path)
    shutil.rmtree(before, ignore_errors=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")
