"""Panel: the objective of each trial over its iterations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from raysearch.history.events import Status
from raysearch.history.history import TrialHistory
from raysearch.report.parts import DEFAULT_COLOR, STATUS_COLORS, WINNER_COLOR, Part, Plot, Text, faintness, new_figure
from raysearch.report.view import SearchView

MAX_POINTS = 50_000
"""Maximum number of reports that are drawn; with more, browsers become slow and the page large."""


@dataclass(frozen=True)
class Curve:
    """Reports of one trial."""

    number: int
    status: Status
    is_winner: bool
    is_default: bool
    points: tuple[tuple[int, float], ...]
    """Iteration and value of each report, by iteration."""
    best: tuple[int, float]


@dataclass(frozen=True)
class LearningCurvesInfo:
    """Curves of all trials that reported."""

    metric: str
    curves: tuple[Curve, ...]
    rungs: tuple[int, ...]
    """Rungs that a trial has reached."""
    every: int
    """Thinning factor n: one report in n is drawn, and always the first, the best and the last of a trial."""


def learning_curves_info(view: SearchView) -> LearningCurvesInfo:
    """Return the curves of all trials that reported, thinned if there are too many reports to draw."""
    reporting = [trial for trial in view.history.trials if trial.reports]
    every = max(1, math.ceil(sum(len(trial.reports) for trial in reporting) / MAX_POINTS))
    curves = tuple(_curve(trial, view, every) for trial in reporting)
    reached = max((curve.points[-1][0] for curve in curves), default=0)
    return LearningCurvesInfo(view.metric, curves, tuple(rung for rung in view.rungs if rung <= reached), every)


def _curve(trial: TrialHistory, view: SearchView, every: int) -> Curve:
    best, last = trial.best(view.mode), trial.last
    assert best is not None, "the trial has reported"
    assert last is not None, "the trial has reported"
    reports = sorted(trial.reports.values(), key=lambda report: report.iteration)
    kept = [report for i, report in enumerate(reports) if i % every == 0 or report is best or report is last]
    return Curve(
        number=trial.number,
        status=trial.status,
        is_winner=view.is_winner(trial),
        is_default=trial.is_default,
        points=tuple((report.iteration, report.value) for report in kept),
        best=(best.iteration, best.value),
    )


def learning_curves_parts(info: LearningCurvesInfo) -> list[Part]:
    """Draw one line per trial, with the winner's and the default's in front, and the rungs as vertical lines."""
    if not info.curves:
        return [Text("No trial has reported yet.")]
    figure = new_figure(420, hovermode="closest", legend_traceorder="reversed")
    figure.update_xaxes(title="iteration", rangemode="tozero")
    if max(curve.points[-1][0] for curve in info.curves) <= 10:
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(title=escape(info.metric))
    for rung in info.rungs:
        figure.add_vline(
            x=rung, line={"width": 1, "dash": "dot"}, annotation={"text": f"rung {rung}", "textangle": -90}
        )
    faint = faintness(len(info.curves))
    for status, color in STATUS_COLORS.items():
        curves = [c for c in info.curves if c.status == status and not (c.is_winner or c.is_default)]
        line = {"color": color, "width": 0.5 + 0.7 * faint}
        _add_lines(figure, curves, status, line=line, opacity=0.25 + 0.35 * faint, marker={"size": 4 * faint})
    stopped = [curve for curve in info.curves if curve.status == "stopped"]
    if stopped:
        figure.add_scatter(
            x=[curve.points[-1][0] for curve in stopped],
            y=[curve.points[-1][1] for curve in stopped],
            mode="markers",
            name="stop",
            marker={
                "symbol": "x-thin",
                "size": 3 + 4 * faint,
                "line": {"width": 0.5 + faint, "color": STATUS_COLORS["stopped"]},
            },
            hoverinfo="skip",
        )
    default = [curve for curve in info.curves if curve.is_default]
    winner = [curve for curve in info.curves if curve.is_winner]
    _add_lines(figure, default, "default", line={"color": DEFAULT_COLOR, "width": 2.5, "dash": "dash"})
    _add_lines(figure, winner, "winner", line={"color": WINNER_COLOR, "width": 3})
    if winner:
        figure.add_scatter(
            x=[winner[0].best[0]],
            y=[winner[0].best[1]],
            mode="markers",
            marker={"symbol": "star", "size": 13, "color": WINNER_COLOR},
            showlegend=False,
            hoverinfo="skip",
        )
    parts: list[Part] = [Plot(figure, f"{info.metric} of each trial over its iterations.")]
    if info.every > 1:
        text = f"One report in {info.every} is shown, and for each trial the first, the best and the last one."
        parts.append(Text(f"{text} All reports are in results.parquet."))
    return parts


def _add_lines(figure: go.Figure, curves: Sequence[Curve], name: str, **style: Any) -> None:
    """Draw all curves of a kind as one trace with gaps between them: hundreds of traces would be slow."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    numbers: list[int | None] = []
    for curve in curves:
        xs += [*(iteration for iteration, _ in curve.points), None]
        ys += [*(value for _, value in curve.points), None]
        numbers += [*(curve.number for _ in curve.points), None]
    if curves:
        figure.add_scatter(
            x=xs[:-1],
            y=ys[:-1],
            customdata=numbers[:-1],
            name=name,
            hovertemplate=f"trial %{{customdata}}, {name}<br>%{{y:.4g}} at iteration %{{x}}<extra></extra>",
            **{"mode": "lines+markers", "marker": {"size": 4}, **style},
        )


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return learning_curves_parts(learning_curves_info(view))
