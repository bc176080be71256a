"""Checksums that chain the lines of a journal: each covers its own line and the checksum of the line before.

A line that was changed, removed or moved therefore does not match. The checksum is the last entry of the last value of
a line, `"raysearch":{…,"check":"…"}`, which Optuna ignores. Lines of version 0.2 and before have none; their bytes
enter the chain, so that the first line with a checksum covers them too.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

KEY = "check"
"""Key of the checksum under `raysearch`."""

START = b""
"""Checksum before the first line."""

_LEFT, _RIGHT = f'"{KEY}":"'.encode(), b'"}}\n'
_NUM_DIGITS = 16
_TAIL = _NUM_DIGITS + len(_RIGHT)


def sealed(record: Mapping[str, Any], before: bytes) -> tuple[bytes, bytes]:
    """Return the line of a record with its checksum, and the checksum; `before` is that of the line before."""
    extra = record.get("raysearch", {})
    fields = {**{key: value for key, value in record.items() if key != "raysearch"}, "raysearch": extra}
    text = json.dumps(fields, separators=(",", ":")).encode()
    covered = text[: -len("}}")] + (b"," if extra else b"") + _LEFT
    checksum = _checksum(covered, before)
    return covered + checksum + _RIGHT, checksum


def is_sealed(line: bytes) -> bool:
    """Return True if a line ends in a checksum, right or wrong."""
    return line.endswith(_RIGHT) and line[:-_TAIL].endswith(_LEFT)


def checksum_of(line: bytes, before: bytes) -> bytes | None:
    """Return the checksum of a line; None if the line carries another one."""
    if not is_sealed(line):
        return _checksum(line, before)
    checksum = _checksum(line[:-_TAIL], before)
    return checksum if line[-_TAIL : -len(_RIGHT)] == checksum else None


def _checksum(covered: bytes, before: bytes) -> bytes:
    digest = blake2b(before, digest_size=_NUM_DIGITS // 2)
    digest.update(covered)
    return digest.hexdigest().encode()
