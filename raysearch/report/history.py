"""Panel: the value of each trial, and the best so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

from raysearch.history.events import Status
from raysearch.report.parts import (
    DEFAULT_COLOR,
    STATUS_COLORS,
    WINNER_COLOR,
    Part,
    Plot,
    Text,
    faintness,
    new_figure,
)
from raysearch.report.view import SearchView
from trainables.plurals import counted


@dataclass(frozen=True)
class TrialPoint:
    """Best value of one trial."""

    number: int
    value: float
    iteration: int
    """Iteration at which the trial reported it."""
    status: Status
    is_winner: bool
    is_default: bool


@dataclass(frozen=True)
class HistoryInfo:
    """Trials that reported a value, by number."""

    metric: str
    points: tuple[TrialPoint, ...]
    incumbents: tuple[tuple[int, float], ...]
    """Number and value of each trial that was better than all earlier trials that can win, by number."""
    num_trials: int
    num_first_points: int
    """Number of trials that tried a point from before the search."""
    num_evidence: int
    """Number of trials of earlier searches that the algorithm could learn from."""


def history_info(view: SearchView) -> HistoryInfo:
    """Return the best value of each trial, and the trials that were the best so far."""
    points = []
    incumbents: list[tuple[int, float]] = []
    leading = (math.inf, math.inf)
    for trial in view.history.trials:
        best = trial.best(view.mode)
        if best is None:
            continue
        point = TrialPoint(
            trial.number, best.value, best.iteration, trial.status, view.is_winner(trial), trial.is_default
        )
        points.append(point)
        standing = view.history.standing(trial)
        if standing is not None and standing < leading:
            leading = standing
            incumbents.append((point.number, point.value))
    trials = view.history.trials
    return HistoryInfo(
        metric=view.metric,
        points=tuple(points),
        incumbents=tuple(incumbents),
        num_trials=len(trials),
        num_first_points=sum(
            trial.origin is not None and trial.retry_of is None and not trial.is_default for trial in trials
        ),
        num_evidence=len(view.history.evidence),
    )


def history_parts(info: HistoryInfo) -> list[Part]:
    """Draw the values as points, and the best so far as a line."""
    silent = info.num_trials - len(info.points)
    if not info.points:
        return [Text(f"No value has been reported yet ({counted(info.num_trials, 'trial')} started).")]
    figure = new_figure(360, hovermode="closest")
    last = info.num_trials - 1
    figure.update_xaxes(title="trial", range=[-0.5 - 0.01 * last, last + 0.5 + 0.01 * last])
    if last <= 10:
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(title=escape(info.metric))
    if info.incumbents:
        steps = [*info.incumbents, (last, info.incumbents[-1][1])]
        figure.add_scatter(
            x=[number for number, _ in steps],
            y=[value for _, value in steps],
            mode="lines",
            name="best so far",
            line={"shape": "hv", "color": WINNER_COLOR, "width": 2},
            hoverinfo="skip",
        )
    for status, color in STATUS_COLORS.items():
        points = [point for point in info.points if point.status == status]
        if points:
            figure.add_scatter(
                x=[point.number for point in points],
                y=[point.value for point in points],
                customdata=[point.iteration for point in points],
                mode="markers",
                name=status,
                marker={"color": color, "size": 4 + 4 * faintness(len(info.points)), "opacity": 0.85},
                hovertemplate=f"trial %{{x}}, {status}<br>%{{y:.4g}} at iteration %{{customdata}}<extra></extra>",
            )
    _add_rings(figure, [point for point in info.points if point.is_default], "default", DEFAULT_COLOR)
    _add_rings(figure, [point for point in info.points if point.is_winner], "winner", WINNER_COLOR)
    parts: list[Part] = [Plot(figure, f"Best {info.metric} of each trial, by trial number.")]
    if silent:
        parts.append(Text(f"Not shown: {counted(silent, 'trial')} without a value."))
    if info.num_first_points:
        first = counted(info.num_first_points, "trial")
        parts.append(Text(f"{first} used values from notes or from earlier runs (`search.warm_start`)."))
    if info.num_evidence:
        earlier = counted(info.num_evidence, "trial")
        parts.append(Text(f"The search also learned from {earlier} of earlier runs, not shown here."))
    return parts


def _add_rings(figure: go.Figure, points: Sequence[TrialPoint], name: str, color: str) -> None:
    if points:
        figure.add_scatter(
            x=[point.number for point in points],
            y=[point.value for point in points],
            mode="markers",
            name=name,
            marker={"symbol": "circle-open", "color": color, "size": 15, "line": {"width": 2.5}},
            hoverinfo="skip",
        )


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return history_parts(history_info(view))
