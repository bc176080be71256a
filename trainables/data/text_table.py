"""Text files of rows, as spreadsheets and other tools write them: their encoding and separator."""

import codecs
from pathlib import Path

from trainables.data.folder import shown
from trainables.errors import Fault, InputError


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 if a byte order mark says so.

    Raises:
        InputError: the file cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError([Fault(shown(path), f"cannot be read ({error.strerror})", "give a text file")]) from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"is not UTF-8 text (byte {data[error.start]:#04x} in line {line})"
        raise InputError([Fault(shown(path), what, "save it as UTF-8")]) from error


def separator_of(line: str) -> str | None:
    """Return the separator of a line's cells: the first comma, semicolon or tab in it; None if blanks separate them."""
    return next((character for character in line if character in ",;\t"), None)
