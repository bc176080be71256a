"""Panel: the Pareto set of a search with several objectives, that is, the trials that no other beats in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from raysearch.history.events import Status
from raysearch.history.pareto import pareto_set
from raysearch.report.parts import STATUS_COLORS, WINNER_COLOR, Part, Plot, Table, Text, new_figure, shown
from raysearch.report.view import SearchView
from trainables.plurals import counted


@dataclass(frozen=True)
class ObjectivesPoint:
    """Objectives of one trial."""

    number: int
    status: Status
    values: tuple[float, ...]
    iteration: int
    """Iteration of the report that counts."""


@dataclass(frozen=True)
class ParetoSetInfo:
    """The Pareto set and the other trials."""

    metrics: tuple[str, ...]
    front: tuple[ObjectivesPoint, ...]
    """Trials of the Pareto set, the best by the first objective first."""
    others: tuple[ObjectivesPoint, ...]
    """All other trials that have reported, by number."""


def pareto_set_info(view: SearchView) -> ParetoSetInfo:
    """Return the objectives of each trial that has reported."""
    history = view.history
    front = pareto_set(history)
    numbers = {trial.number for trial in front}
    points = {
        trial.number: ObjectivesPoint(trial.number, trial.status, history.values_at(trial, best), best.iteration)
        for trial in history.trials
        if (best := trial.best(history.mode)) is not None
    }
    return ParetoSetInfo(
        metrics=(view.metric, *(metric for metric, _ in history.further)),
        front=tuple(points[trial.number] for trial in front),
        others=tuple(point for number, point in points.items() if number not in numbers),
    )


def pareto_set_parts(info: ParetoSetInfo) -> list[Part]:
    """Draw the first two objectives as points, with a line through the Pareto set, and the Pareto set as a table."""
    if not info.front:
        return [Text("No trial has a score yet. Failed and infeasible trials do not count.")]
    text = (
        f"The Pareto set holds {counted(len(info.front), 'trial')} that no other trial dominates in"
        f" {', '.join(info.metrics)}. The complete configs are in pareto/. Each trial is represented by its best"
        " report by the first objective, also if it was stopped early."
    )
    figure = new_figure(380, hovermode="closest")
    figure.update_xaxes(title=escape(info.metrics[1]))
    figure.update_yaxes(title=escape(info.metrics[0]))
    for status, color in STATUS_COLORS.items():
        points = [point for point in info.others if point.status == status]
        if points:
            _add_points(figure, points, status, mode="markers", marker={"color": color, "size": 8})
    line = {"color": WINNER_COLOR, "width": 2}
    mode = "lines+markers" if len(info.metrics) == 2 else "markers"
    marker = {"color": WINNER_COLOR, "size": 10}
    _add_points(figure, info.front, "Pareto set", mode=mode, marker=marker, line=line)
    rows = tuple(
        (str(point.number), point.status, *map(shown, point.values), str(point.iteration)) for point in info.front
    )
    return [
        Text(text),
        Plot(figure, f"{info.metrics[0]} of each trial over its {info.metrics[1]}."),
        Table(("trial", "status", *info.metrics, "iteration"), rows, text_columns=(1,)),
    ]


def _add_points(figure: go.Figure, points: Sequence[ObjectivesPoint], name: str, **style: Any) -> None:
    figure.add_scatter(
        x=[point.values[1] for point in points],
        y=[point.values[0] for point in points],
        customdata=[point.number for point in points],
        name=name,
        hovertemplate="trial %{customdata}<br>%{y:.4g} at %{x:.4g}<extra></extra>",
        **style,
    )


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return pareto_set_parts(pareto_set_info(view))
