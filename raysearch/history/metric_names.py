"""Names of reported numbers: a metric, or one entry of a reported list, such as `iou.road` or `iou.0`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

PEAK_MEMORY = "peak_memory_bytes"
"""The one objective that no trainable reports: it is measured around every trial."""


class Entry(NamedTuple):
    """One number of a reported list."""

    metric: str
    """Name of the list."""
    place: int
    """From 0."""


def entry_of(name: str, metrics: Collection[str] | None, entries: Mapping[str, Sequence[str]]) -> Entry | None:
    """Return the entry of a reported list that a name stands for; None where it stands for no entry.

    Args:
        name: Name of the list, a dot, and the entry by its own name or its number.
        metrics: Names of all numbers that are reported, where the trainable declares them.
        entries: Name of every list that is reported -> the name of each of its numbers, where the config knows them.
    """
    metric, _, entry = name.partition(".")
    if metrics is not None and name in metrics:
        return None
    if metric in entries:
        known = list(entries[metric])
        if entry in known:
            return Entry(metric, known.index(entry))
        return Entry(metric, int(entry)) if entry.isdecimal() and int(entry) < len(known) else None
    return Entry(metric, int(entry)) if metrics is None and entry.isdecimal() else None


def names_of_entries(entries: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the name of every entry of the reported lists."""
    return [f"{metric}.{entry}" for metric, known in entries.items() for entry in known]


def with_entries(report: Mapping[str, Any], wanted: Mapping[str, Entry]) -> dict[str, Any]:
    """Return a report with the wanted entries beside the lists that hold them; what it names itself stays."""
    found = {
        name: report[entry.metric][entry.place]
        for name, entry in wanted.items()
        if name not in report
        and hasattr(report.get(entry.metric), "__getitem__")
        and entry.place < len(report[entry.metric])
    }
    return {**report, **found}
