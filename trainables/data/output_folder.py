"""An output folder that is written completely or not at all, and never overwrites anything."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.data.folder import shown
from trainables.errors import Fault, InputError


@contextmanager
def new_folder(destination: Path, source: Path) -> Iterator[Path]:
    """Provide a temporary folder beside `destination` to write into; it becomes `destination` when the block ends.

    If the block is left by an exception or an interrupt, the temporary folder is removed and nothing is left.

    Args:
        destination: Absent or an empty folder, neither `source` nor inside it.
        source: The folder that is read.

    Raises:
        InputError: the destination does not meet these conditions.
    """
    destination = destination.expanduser().absolute()
    inner, outer = destination.resolve(), source.expanduser().resolve()
    if inner == outer or outer in inner.parents:
        raise InputError(
            [Fault(shown(destination), f"is inside {source}, which is never changed", "give a folder elsewhere")]
        )
    if destination.exists() and not destination.is_dir():
        raise InputError([Fault(shown(destination), "is a file", "give a new folder")])
    if destination.exists() and any(destination.iterdir()):
        raise InputError([Fault(shown(destination), "is not empty; nothing is overwritten", "give a new folder")])
    made = [parent for parent in destination.parents if not parent.exists()]
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        partial.rename(destination)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:  # from the innermost
            parent.rmdir()
        raise


def free_folder(folder: Path, ending: str) -> Path:
    """Return a path that does not exist yet: in a folder's parent, or in the working directory if that is read-only."""
    parent = folder.parent if os.access(folder.parent, os.W_OK) else Path.cwd()
    numbers = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
    names = (f"{folder.name}_{ending}{number}" for number in numbers)
    return next(parent / name for name in names if not (parent / name).exists())


def place(source: Path, target: Path, *, link: bool) -> None:
    """Make `target` a copy of a file, or a hard link to it.

    Raises:
        InputError: the file system cannot link them.
    """
    if not link:
        shutil.copy2(source, target)
        return
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        fix = "leave out --link, which requires both folders to be on the same file system"
        raise InputError([Fault(shown(source), f"cannot be linked ({error.strerror})", fix)]) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
