"""The JSON files and flags of openseg.pytorch and ContrastiveSeg, from which the ideas of this trainer come.

Such a file is never complete: the original's scripts give the network, the loss and the data as flags besides it.
`flags.py` reads the flags. `reader.py` translates a file and its flags to a nested config, and `writer.py` a config to
a file. `dialect.py` holds the names that the reader and the writer share. Values that the dialect cannot express are
written to a block that the original ignores, so that a config that is written and read again is unchanged.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.openseg.dialect import is_openseg
from trainables.openseg.flags import Flags, given_at, read_flags
from trainables.openseg.reader import has_place, read_openseg
from trainables.protocol import DialectReading, Given


class Openseg:
    """The openseg dialect as a `trainables.protocol.Dialect`."""

    name = "openseg"
    programs = "openseg or ContrastiveSeg"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Return True if a document is in the dialect, judged by its keys."""
        return is_openseg(document)

    def read_flags(self, words: Sequence[str], folder: Path) -> Flags:
        """Return the original's flags among `words`; the paths that they give are relative to `folder`."""
        return read_flags(words, folder)

    def given_at(self, document: Mapping[str, Any], path: str, text: str, value: Any, folder: Path) -> Given | None:
        """Return a value for a dotted path of a file; None if the dialect has no such place."""
        return given_at(text, path, value, folder) if has_place(document, path) else None

    def read(self, document: Mapping[str, Any], source: str, given: Sequence[Given]) -> DialectReading:
        """Return the config that a file and the values given beside it describe."""
        return read_openseg(document, source, given)
