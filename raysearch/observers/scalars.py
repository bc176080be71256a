"""Numbers of a report under unique names, for tools that draw one curve per name."""

import math
from collections.abc import Mapping
from typing import Any

from raysearch.history.events import Report
from raysearch.space.spec import SearchSpec
from trainables.protocol import DRAWS


class ReportScalars:
    """The names of a search's numbers: `miou`, `loss`, `iou/pedestrian`, `took_effect/contrast.max_views`."""

    def __init__(self, spec: SearchSpec) -> None:
        """Take the names of the classes from the search's config."""
        self._metric = spec.objectives[0].metric
        self._entries = spec.metric_entries()

    def of(self, report: Report) -> dict[str, float]:
        """Return all finite numbers of a report by name.

        Numbers of a list are named by class, or by position if they have no names.
        """
        numbers: dict[str, float] = {self._metric: report.value}
        for name, value in report.metrics.items():
            if not isinstance(value, list):
                numbers[name] = float(value)
            elif not name.endswith(DRAWS):
                numbers.update(self._of_list(name, value))
        return {name: number for name, number in numbers.items() if math.isfinite(number)}

    def _of_list(self, name: str, values: list[Any]) -> Mapping[str, float]:
        names = self._entries.get(name, ())
        if len(names) != len(values):
            names = [str(place) for place in range(len(values))]
        return {f"{name}/{entry}": float(value) for entry, value in zip(names, values, strict=True)}


def describe(value: Any) -> Any:
    """Return a searched value as trackers accept it: a number, a boolean or text."""
    return value if isinstance(value, bool | int | float | str) else str(value)
