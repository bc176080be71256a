"""Collects the faults of one document, each at its place, to raise all of them in the order of the file."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from raysearch.errors import Fault, InputError

Place = tuple[str, ...]
"""The keys that lead to a value of the document."""


class FaultList:
    """The faults of one document so far."""

    def __init__(self, source: str, origins: Mapping[Place, str] = MappingProxyType({})) -> None:
        """Begin with none.

        Args:
            source: The name of the document for its user, such as the path of its file.
            origins: The places whose values come from elsewhere.
        """
        self.source = source
        self._origins: dict[Place, str] = dict(origins)
        self._found: list[tuple[Place | None, Fault]] = []

    def note_origin(self, place: Place, origin: str) -> None:
        """From now on, what lies at or below a place is said to come from elsewhere, such as from an option."""
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
        """Record faults that know their place themselves."""
        self._found.extend((None, fault) for fault in faults)

    def take(self, other: "FaultList") -> None:
        """Record all faults of another list after those of this one."""
        self._found.extend(other._found)

    @property
    def origins(self) -> Mapping[Place, str]:
        """The places whose values come from elsewhere so far, with where from."""
        return MappingProxyType(dict(self._origins))

    @property
    def found(self) -> list[Fault]:
        """What was recorded so far, in that order."""
        return [fault for _, fault in self._found]

    def __len__(self) -> int:
        return len(self._found)

    def raise_any(self, document: Mapping[str, Any]) -> None:
        """Raise what was found, in the order in which the document holds the places.

        Raises:
            InputError: there are faults.
        """
        ranked = sorted(self._found, key=lambda found: _rank(document, found[0]))
        unique = dict.fromkeys(fault for _, fault in ranked)
        if unique:
            raise InputError(tuple(unique))


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
