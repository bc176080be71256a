"""Shell completion of run folders, space files and dotted paths."""

from collections.abc import Iterator
from pathlib import Path


def run_folders(incomplete: str) -> list[str]:
    """Return run folders and folders that may contain some; for an empty word also those in `runs/`."""
    found = list(_folders(incomplete))
    return found if incomplete else [*_folders("runs/"), *found]


def space_files(incomplete: str) -> list[str]:
    """Return the names of shipped space files, YAML files, and folders that may contain some."""
    from raysearch.config.shipped import shipped_spaces

    shipped = [name for name in shipped_spaces() if name.startswith(incomplete)]
    return [*shipped, *_entries(incomplete, (".yaml", ".yml"))]


FORMATS = ("raysearch", "openseg")
"""Formats of an exported config: the one of raysearch, and that of the built-in trainer's dialect."""


def formats(incomplete: str) -> list[str]:
    """Return the formats of an exported config that begin with some text."""
    return [name for name in FORMATS if name.startswith(incomplete)]


def config_paths(incomplete: str) -> list[str]:
    """Return the dotted paths of the trial config."""
    from raysearch.config.config_tree import ConfigTree
    from trainables.config import Config

    return [path for path in ConfigTree(Config).paths if path.startswith(incomplete)]


def space_values(incomplete: str) -> list[str]:
    """Return what `--set` can set: the values of a space file's sections and of its config."""
    from raysearch.space.settings import SECTIONS

    settings = [f"{key}.{name}=" for key, section in SECTIONS.items() for name in section.model_fields]
    known = [*settings, *(f"config.{path}=" for path in config_paths(""))]
    return [text for text in known if text.startswith(incomplete)]


def _folders(incomplete: str) -> Iterator[str]:
    from raysearch.config.documents import JOURNAL_FILE

    for text in _entries(incomplete, ()):
        is_run = (Path(text).expanduser() / JOURNAL_FILE).is_file()
        yield text.rstrip("/") if is_run else text


def _entries(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield folders with a trailing slash, and files with these suffixes."""
    folder, slash, begin = incomplete.rpartition("/")
    place = Path(folder + slash).expanduser() if slash else Path()
    if not place.is_dir():
        return
    for path in sorted(place.iterdir()):
        if path.name.startswith(begin) and (begin or not path.name.startswith(".")):
            if path.is_dir():
                yield f"{folder}{slash}{path.name}/"
            elif path.suffix in suffixes:
                yield f"{folder}{slash}{path.name}"
