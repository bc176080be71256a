"""An output folder that is written completely or not at all, and never overwrites anything."""

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
            [Fault(shown(destination), f"lies in {source}, which is only read", "name a folder elsewhere")]
        )
    if destination.exists() and not destination.is_dir():
        raise InputError([Fault(shown(destination), "is a file", "name a new folder")])
    if destination.exists() and any(destination.iterdir()):
        raise InputError([Fault(shown(destination), "is not empty; nothing is overwritten", "name a new folder")])
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
        fix = "leave out --link, which needs both folders on one file system"
        raise InputError([Fault(shown(source), f"cannot be linked ({error.strerror})", fix)]) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
