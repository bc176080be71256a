"""Collects the faults of one document with their places, to raise all of them in the order of the file."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from raysearch.errors import Fault, InputError
from trainables.plurals import counted

MAX_FAULTS = 100
"""Largest number of faults of a document that are told; the others are counted."""

Place = tuple[str, ...]
"""Keys that lead to a value of the document."""


class FaultList:
    """The faults found in one document so far."""

    def __init__(self, source: str, origins: Mapping[Place, str] = MappingProxyType({})) -> None:
        """Create an empty list.

        Args:
            source: Name of the document in messages, such as the path of its file.
            origins: Sources of values that do not come from the document, by place.
        """
        self.source = source
        self._origins: dict[Place, str] = dict(origins)
        self._found: list[tuple[Place | None, Fault]] = []

    def note_origin(self, place: Place, origin: str) -> None:
        """Report faults at or below a place as faults of another source, such as an option, from now on."""
        self._origins[place] = origin

    def add(self, place: Place, what: str, fix: str = "") -> None:
        """Record a fault of the value at a place."""
        for length in range(len(place), 0, -1):
            if place[:length] in self._origins:
                where = ": ".join(filter(None, (self._origins[place[:length]], ".".join(place[length:]))))
                break
        else:
            where = ": ".join(filter(None, (self.source, ".".join(place))))
        self._found.append((place, Fault(where, what, fix)))

    def extend(self, faults: Iterable[Fault]) -> None:
        """Record faults that already contain their place."""
        self._found.extend((None, fault) for fault in faults)

    def take(self, other: "FaultList") -> None:
        """Append all faults of another list."""
        self._found.extend(other._found)

    @property
    def origins(self) -> Mapping[Place, str]:
        """Sources of values that do not come from the document, by place."""
        return MappingProxyType(dict(self._origins))

    @property
    def found(self) -> list[Fault]:
        """The recorded faults in the order in which they were added."""
        return [fault for _, fault in self._found]

    def __len__(self) -> int:
        return len(self._found)

    def raise_any(self, document: Mapping[str, Any]) -> None:
        """Raise an error with all faults, in the order of their places in the document, if there are any.

        Raises:
            InputError: there are faults.
        """
        ranked = sorted(self._found, key=lambda found: _rank(document, found[0]))
        unique = list(dict.fromkeys(fault for _, fault in ranked))
        if len(unique) > MAX_FAULTS:
            more = Fault(self.source, f"has {counted(len(unique) - MAX_FAULTS, 'more fault')}", "correct these first")
            unique = [*unique[:MAX_FAULTS], more]
        if unique:
            raise InputError(unique)


def _rank(document: Any, place: Place | None) -> tuple[int, ...]:
    if place is None:
        return ()
    ranks = []
    for key in place:
        if not isinstance(document, Mapping):
            break
        keys = list(document)
        ranks.append(keys.index(key) if key in document else len(keys))
        document = document.get(key)
    return tuple(ranks)
