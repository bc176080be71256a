"""Panel: the searched values and the score of each trial, on one axis each.

It is drawn with plotly's scatter lines. Plotly's own parallel coordinates need WebGL, cannot leave out a value, and
show no details of the line under the pointer.
"""

import json
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.history.events import Status
from raysearch.history.history import TrialHistory
from raysearch.report.parts import (
    DEFAULT_COLOR,
    MISSING,
    STATUS_COLORS,
    WINNER_COLOR,
    Part,
    Plot,
    Text,
    faintness,
    is_number,
    new_figure,
    shown,
    spread_over,
)
from raysearch.report.view import SearchView
from trainables.plurals import counted

MAX_LINES = 400
"""Maximum number of trials that are drawn."""

_QUARTERS: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("best quarter", {"color": "#3b82c4", "width": 1.8}, 0.8),
    ("second quarter", {"color": "#3b82c4", "width": 1}, 0.5),
    ("third quarter", {"color": "#868e99", "width": 1}, 0.55),
    ("last quarter", {"color": "#868e99", "width": 1}, 0.3),
)
"""Name, line style and opacity of each quarter."""

_LANE = -0.14
"""Height below an axis for trials that have no place on it."""


@dataclass(frozen=True)
class Axis:
    """One vertical axis, from 0 at its bottom to 1 at its top."""

    label: str
    ticks: tuple[tuple[float, str], ...]
    """Height and text of each tick."""


@dataclass(frozen=True)
class Line:
    """The line of one trial."""

    number: int
    status: Status
    is_winner: bool
    is_default: bool
    quarter: int | None
    """Quarter of the trials by value, from 0 for the best to 3 for the last; None for a trial that cannot win."""
    heights: tuple[float | None, ...]
    """Height on each axis; None if the trial has no such value, or one that has no place on the axis."""
    texts: tuple[str, ...]
    """Value on each axis, as text."""


@dataclass(frozen=True)
class ParallelCoordinatesInfo:
    """Axes and lines."""

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    num_left_out: int
    """Number of trials that are not drawn. Of more than `MAX_LINES` trials, the best `MAX_LINES // 2` are drawn, and an
    even choice of the others.
    """


def parallel_coordinates_info(view: SearchView) -> ParallelCoordinatesInfo:
    """Return each searched path and the metric as an axis, and each trial that has reported or ended as a line."""
    trials = view.history.trials
    values = {trial.number: best.value for trial in trials if (best := trial.best(view.mode)) is not None}
    can_win = view.history.ranked()
    quarters = {trial.number: 4 * rank // len(can_win) for rank, trial in enumerate(can_win)}
    shown_trials = [*can_win, *(trial for trial in trials if trial.status in ("failed", "infeasible"))]
    columns: list[tuple[_Scale, dict[int, Any]]] = [
        (_scale(path, trials), {t.number: t.values[path] for t in trials if path in t.values}) for path in view.paths
    ]
    if values:
        columns.append((_Range(view.metric, min(values.values()), max(values.values())), values))
    lines = tuple(
        Line(
            number=trial.number,
            status=trial.status,
            is_winner=view.is_winner(trial),
            is_default=trial.is_default,
            quarter=quarters.get(trial.number),
            heights=tuple(
                scale.height(column[trial.number]) if trial.number in column else None for scale, column in columns
            ),
            texts=tuple(shown(column[trial.number]) if trial.number in column else "not used" for _, column in columns),
        )
        for trial in spread_over(shown_trials, MAX_LINES, lambda trial: trial.is_default or view.is_winner(trial))
    )
    axes = tuple(Axis(scale.label, scale.ticks()) for scale, _ in columns)
    return ParallelCoordinatesInfo(axes, lines, len(shown_trials) - len(lines))


@dataclass(frozen=True)
class _Range:
    """A numeric axis."""

    label: str
    low: float
    high: float
    log: bool = False

    def height(self, value: Any) -> float | None:
        """Return the height of a number between the ends.

        It is None for other values and, on a log axis, for numbers up to 0.
        """
        if not is_number(value) or (self.log and value <= 0):
            return None
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return the ends, and round numbers between them that are not too close to the ends."""
        if self.low == self.high:
            return ((0.5, shown(self.low)),)
        inner = [(self.height(number) or 0.0, shown(number)) for number in self._round_numbers()]
        return ((0.0, shown(self.low)), *(tick for tick in inner if 0.08 < tick[0] < 0.92), (1.0, shown(self.high)))

    def _round_numbers(self) -> list[float]:
        """Return powers of ten on a log axis; otherwise up to five steps of 1, 2, 2.5 or 5 times a power of ten."""
        if self.log:
            exponents = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10**exponent if exponent >= 0 else float(f"1e{exponent}") for exponent in exponents]
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span))
        step = next(step for step in (0.2 * power, 0.25 * power, 0.5 * power, power, 2 * power) if span / step <= 5)
        first = math.ceil(self.low / step)
        return [float(f"{k * step:.10g}") for k in range(first, first + 6)]


@dataclass(frozen=True)
class _Choices:
    """A categorical axis, with the first choice at its top."""

    label: str
    choices: tuple[Any, ...]

    def height(self, value: Any) -> float | None:
        """Return the height of a choice among the others; None for a value that is not a choice."""
        places = [i for i, choice in enumerate(self.choices) if json.dumps(choice) == json.dumps(value)]
        if not places:
            return None
        return 1 - places[0] / (len(self.choices) - 1) if len(self.choices) > 1 else 0.5

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return a tick for each choice."""
        return tuple((self.height(choice) or 0.0, shown(choice)) for choice in self.choices)


_Scale = _Range | _Choices


def _scale(path: str, trials: Sequence[TrialHistory]) -> _Scale:
    """Return the axis of a searched path: its range in the space, extended to values outside it.

    The default's value may be outside.
    """
    used = [trial.values[path] for trial in trials if path in trial.values]
    numbers = [value for value in used if is_number(value)]
    distribution = next((trial.distributions[path] for trial in trials if path in trial.distributions), None)
    match distribution:
        case FloatDistribution(low=low, high=high, log=log) | IntDistribution(low=low, high=high, log=log):
            placed = [number for number in numbers if number > 0 or not log]
            return _Range(path, min(low, *placed), max(high, *placed), log)
        case CategoricalDistribution(choices=choices):
            return _choices(path, [*choices, *used])
    return _Range(path, min(numbers), max(numbers)) if numbers else _choices(path, used)


def _choices(path: str, values: Sequence[Any]) -> _Choices:
    return _Choices(path, tuple({json.dumps(value): value for value in values}.values()))


def parallel_coordinates_parts(info: ParallelCoordinatesInfo) -> list[Part]:
    """Draw one line per trial: the best quarter in front, and trials that cannot win hidden until they are selected."""
    if not info.lines:
        return [Text("No trial has reported or ended yet.")]
    figure = new_figure(440, hovermode="closest", legend_traceorder="reversed")
    lanes = {i for line in info.lines for i, height in enumerate(line.heights) if height is None}
    for place, axis in enumerate(info.axes):
        figure.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line={"width": 1})
        for height, text in axis.ticks:
            _add_tick(figure, place, height, text)
        if place in lanes:
            _add_tick(figure, place, _LANE, MISSING)
    faint = faintness(len(info.lines))
    common = [line for line in info.lines if not (line.is_winner or line.is_default)]
    for quarter, (name, style, opacity) in reversed(list(enumerate(_QUARTERS))):
        style = {**style, "width": style["width"] * (0.3 + 0.7 * faint)}
        lines = [line for line in common if line.quarter == quarter]
        _add_lines(figure, lines, name, line=style, opacity=opacity * (0.3 + 0.7 * faint))
    for status in ("infeasible", "failed"):
        lines = [line for line in common if line.status == status]
        style = {"color": STATUS_COLORS[status], "width": 1}
        _add_lines(figure, lines, status, line=style, opacity=0.6, visible="legendonly")
    default = [line for line in info.lines if line.is_default]
    _add_lines(figure, default, "default", line={"color": DEFAULT_COLOR, "width": 2.5, "dash": "dash"})
    winner = [line for line in info.lines if line.is_winner]
    _add_lines(figure, winner, "winner", line={"color": WINNER_COLOR, "width": 3})
    figure.update_xaxes(
        tickvals=list(range(len(info.axes))),
        ticktext=[_broken(axis.label) for axis in info.axes],
        ticklabeloverflow="allow",
        range=[-0.5, len(info.axes) - 0.5],
        showgrid=False,
        tickangle=0,
    )
    figure.update_yaxes(range=[_LANE - 0.05 if lanes else -0.04, 1.04], visible=False)
    description = "Searched values and metric, one line per trial."
    parts: list[Part] = [Plot(figure, description, min_width_px=115 * len(info.axes))]
    if info.num_left_out:
        trials = counted(len(info.lines) + info.num_left_out, "trial")
        parts.append(Text(f"The best {MAX_LINES // 2} of {trials} and an even selection of the rest are shown."))
    return parts


def _broken(path: str) -> str:
    """Return a path in short lines, broken after its dots."""
    parts = [line for part in re.split(r"(?<=\.)", path) for line in textwrap.wrap(part, 18)]
    return "<br>".join(escape(part) for part in parts)


def _add_tick(figure: go.Figure, place: int, height: float, text: str) -> None:
    short = text if len(text) <= 16 else f"{text[:15]}…"
    figure.add_annotation(
        x=place, y=height, text=escape(short), showarrow=False, xanchor="left", xshift=4, font={"size": 11}
    )


def _add_lines(figure: go.Figure, lines: Sequence[Line], name: str, **style: Any) -> None:
    """Draw all lines of a kind as one trace with gaps between them: hundreds of traces would be slow."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str | None] = []
    for line in lines:
        xs += [*range(len(line.heights)), None]
        ys += [*(_LANE if height is None else round(height, 4) for height in line.heights), None]
        texts += [*(f"trial {line.number}<br>{escape(text)}" for text in line.texts), None]
    if lines:
        figure.add_scatter(
            x=xs[:-1], y=ys[:-1], text=texts[:-1], mode="lines+markers", marker={"size": 4}, name=name,
            hovertemplate="%{text}<extra></extra>", **style,
        )  # fmt: skip


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return parallel_coordinates_parts(parallel_coordinates_info(view))
