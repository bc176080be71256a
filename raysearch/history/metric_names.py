"""Names of reported numbers: a metric, or one entry of a reported list, such as `iou.road` or `iou.0`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

PEAK_MEMORY = "peak_memory_bytes"
"""Name of the only objective that no trainable reports: the wrapper around every trial measures it."""


class Entry(NamedTuple):
    """One number of a reported list."""

    metric: str
    """Name of the list."""
    place: int
    """Index in the list, from 0."""


def entry_of(name: str, metrics: Collection[str] | None, entries: Mapping[str, Sequence[str]]) -> Entry | None:
    """Return the list entry that a metric name stands for; None if it stands for no entry.

    Args:
        name: Name of a list, a dot, and the name or the index of one of its entries.
        metrics: Names of all reported metrics, if the trainable declares them.
        entries: Names of the entries of every reported list, by the list's name, if the config knows them.
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
    """Return the names of all entries of the reported lists."""
    return [f"{metric}.{entry}" for metric, known in entries.items() for entry in known]


def with_entries(report: Mapping[str, Any], wanted: Mapping[str, Entry]) -> dict[str, Any]:
    """Return a report with the wanted list entries as metrics of their own; metrics of the same name are kept."""
    found = {
        name: report[entry.metric][entry.place]
        for name, entry in wanted.items()
        if name not in report
        and hasattr(report.get(entry.metric), "__getitem__")
        and entry.place < len(report[entry.metric])
    }
    return {**report, **found}
