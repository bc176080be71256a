"""Building blocks of panels. They hold plain text, which the page escapes, so that no panel writes HTML."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

import plotly.graph_objects as go

from raysearch.config.strict_yaml import reads_as_text
from raysearch.history.events import Status
from trainables.dotted_paths import ABSENT

STATUS_COLORS: dict[Status, str] = {
    "completed": "#3b82c4",
    "stopped": "#868e99",
    "running": "#b7811a",
    "infeasible": "#c8642e",
    "failed": "#d64550",
}
"""Colour of each status, in the order in which statuses are listed. Each has a contrast of 3 or more on the light and
on the dark page.
"""

WINNER_COLOR = "#1f9d63"
DEFAULT_COLOR = "#9a6dd7"

MISSING = "—"
"""Text that stands for a value that a trial does not have."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Fact:
    """One important number, with its name and a remark."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Facts:
    """A row of important numbers."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Table:
    """A table; numbers are right-aligned."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: tuple[int, ...] = (0,)
    """Indices of the columns that hold text; the others hold numbers."""
    summary: str | None = None
    """Words under which the table is folded away; None shows it."""


@dataclass(frozen=True)
class Code:
    """Text to copy, character by character."""

    text: str
    summary: str | None = None
    """Words under which the text is folded away; None shows it."""


@dataclass(frozen=True)
class Plot:
    """A plotly figure."""

    figure: go.Figure
    description: str
    """Description for readers who cannot see the figure."""
    min_width_px: int = 0
    """Minimum width; on a narrower page, the figure scrolls sideways."""


@dataclass(frozen=True)
class Grid:
    """Small figures side by side, as many in a row as there is room for."""

    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Legend:
    """Meaning of colours."""

    entries: tuple[tuple[str, str], ...]
    """Name and colour, as #rrggbb."""


@dataclass(frozen=True)
class Picture:
    """An image that the page contains."""

    data: str
    """Data URI."""
    caption: str
    is_sharp: bool = False
    """True if its pixels keep sharp edges when it is enlarged."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one thing side by side, or two in a row on a narrow page."""

    title: str
    pictures: tuple[Picture, ...]


Part = Text | Facts | Table | Code | Plot | Grid | Legend | Pictures

One = TypeVar("One")


def spread_over(ranked: Sequence[One], limit: int, keep: Callable[[One], bool] = lambda one: False) -> list[One]:
    """Return the ranked items to draw: all, or the best `limit // 2`, an even choice of the others, and all to keep."""
    if len(ranked) <= limit:
        return list(ranked)
    best, others = ranked[: limit // 2], ranked[limit // 2 :]
    num_others = limit - len(best)
    places = {i * len(others) // num_others for i in range(num_others)}
    return [*best, *(one for i, one in enumerate(others) if i in places or keep(one))]


def faintness(num_drawn: int) -> float:
    """Return the factor for width and opacity of this many lines or points that keeps them apart to the eye."""
    return min(1.0, math.sqrt(150 / max(1, num_drawn)))


def is_number(value: Any) -> TypeGuard[float]:
    """Return True if a value has a place on a numeric axis."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: Any) -> str:
    """Return a value of a config or a metric as short text; ambiguous text is put in quotes."""
    if value is ABSENT:
        return MISSING
    match value:
        case bool() | None:
            return json.dumps(value)
        case float():
            return MISSING if math.isnan(value) else f"{value:.4g}"
        case int():
            return str(value)
        case str() if reads_as_text(value):
            return value
        case _:
            return json.dumps(value)


def new_figure(height_px: int, **layout: Any) -> go.Figure:
    """Return an empty figure without colours of its own: the page adds those of the light or the dark scheme."""
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    margin = {"l": 8, "r": 8, "t": 8, "b": 8}
    figure = go.Figure(layout={"template": {}, "height": height_px, "legend": legend, "margin": margin})
    figure.update_layout(**layout)
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    return figure


def log_axis(low: float, high: float) -> dict[str, Any]:
    """Return the settings of a logarithmic axis with ticks between two numbers.

    Ticks are at powers of ten and, on a short axis, also at 2 and 5 times these.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1,) if math.log10(high / low) > 1.5 else (1, 2, 5)
    ticks = [number for power in decades for digit in digits if low <= (number := float(f"{digit}e{power}")) <= high]
    return {"type": "log", "tickvals": ticks or [low], "ticktext": [shown(tick) for tick in ticks or [low]]}
