"""Panel: the score over each searched value by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.history.events import Status
from raysearch.history.history import TrialHistory
from raysearch.report.parts import (
    DEFAULT_COLOR,
    STATUS_COLORS,
    WINNER_COLOR,
    Grid,
    Part,
    Plot,
    Text,
    is_number,
    log_axis,
    new_figure,
    shown,
    spread_over,
)
from raysearch.report.view import SearchView
from raysearch.results.importances import at_common_iteration
from trainables.plurals import counted

MAX_TRIALS = 400
"""Maximum number of trials that are drawn over one value."""


@dataclass(frozen=True)
class SlicePoint:
    """One trial in the plot of one searched value."""

    number: int
    value: Any
    """Searched value: a number or, on an axis of choices, its text."""
    score: float
    status: Status
    is_winner: bool
    is_default: bool


@dataclass(frozen=True)
class Slice:
    """The trials over one searched value."""

    path: str
    is_log: bool
    choices: tuple[str, ...]
    """All choices as text; empty for a range."""
    points: tuple[SlicePoint, ...]
    """Trials by number."""


@dataclass(frozen=True)
class SlicesInfo:
    """All searched values that trials with a score have used."""

    metric: str
    iteration: int
    """Iteration at which the scores are compared."""
    num_trials: int
    num_drawn: int
    slices: tuple[Slice, ...]
    """One slice per value, the most important first, or in the order of first use if importances are unknown."""


def slices_info(view: SearchView) -> SlicesInfo | None:
    """Return the scores over each searched value, at the iteration that most trials reached; None before any report."""
    common = at_common_iteration(view.history)
    if common is None:
        return None
    ranked = sorted(common.values, key=lambda pair: pair[1], reverse=view.mode == "max")
    drawn = spread_over(ranked, MAX_TRIALS, lambda pair: pair[0].is_default)
    drawn.sort(key=lambda pair: pair[0].number)
    slices = tuple(_slice(path, drawn, view) for path in view.paths_by_importance)
    return SlicesInfo(
        metric=view.metric,
        iteration=common.iteration,
        num_trials=len(common.values),
        num_drawn=len(drawn),
        slices=tuple(one for one in slices if one.points),
    )


def _slice(path: str, drawn: Sequence[tuple[TrialHistory, float]], view: SearchView) -> Slice:
    distribution = view.distributions.get(path)
    used = [trial.values[path] for trial, _ in drawn if path in trial.values]
    is_range = isinstance(distribution, FloatDistribution | IntDistribution) or (
        distribution is None and all(is_number(value) for value in used)
    )
    is_log = isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log
    points = tuple(
        SlicePoint(
            trial.number,
            value if is_range else shown(value),
            score,
            trial.status,
            view.is_winner(trial),
            trial.is_default,
        )
        for trial, score in drawn
        if path in trial.values
        for value in [trial.values[path]]
        if not is_range or (is_number(value) and (value > 0 or not is_log))
    )
    return Slice(path, is_log, () if is_range else _choices(distribution, used), points)


def _choices(distribution: BaseDistribution | None, used: Sequence[Any]) -> tuple[str, ...]:
    known = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
    return tuple(dict.fromkeys(shown(value) for value in (*known, *used)))


def slices_parts(info: SlicesInfo | None) -> list[Part]:
    """Draw a small figure for each searched value."""
    if info is None:
        return [Text("No trial has a score yet. Failed and infeasible trials do not count.")]
    if not info.slices:
        return [Text("The space has no searched value.")]
    text = (
        f"{info.metric} at iteration {info.iteration}, which most trials reached, over each searched value, the most "
        "important one first. Blue: trials that ran to the end; grey: trials that were stopped early; purple ring: the "
        "default; green star: the winner."
    )
    if info.num_drawn < info.num_trials:
        trials = counted(info.num_trials, "trial")
        text += f" The best {MAX_TRIALS // 2} of {trials} and an even selection of the rest are shown."
    return [Text(text), Grid(tuple(_plot(one, info.metric) for one in info.slices))]


def _plot(one: Slice, metric: str) -> Plot:
    figure = new_figure(230, hovermode="closest", showlegend=False)
    figure.update_xaxes(title=escape(one.path), showgrid=not one.choices)
    if one.choices:
        figure.update_xaxes(
            type="category",
            categoryorder="array",
            categoryarray=list(one.choices),
            range=[-0.5, len(one.choices) - 0.5],
        )
    elif one.is_log:
        values = [point.value for point in one.points]
        figure.update_xaxes(log_axis(min(values), max(values)))
    figure.update_yaxes(nticks=5)
    for status, color in STATUS_COLORS.items():
        common = [point for point in one.points if point.status == status]
        if common:
            figure.add_scatter(
                x=[point.value for point in common],
                y=[_rounded(point.score) for point in common],
                customdata=[point.number for point in common],
                mode="markers",
                marker={"color": color, "size": 6, "opacity": 0.75},
                hovertemplate="trial %{customdata}<br>%{y:.4g} at %{x}<extra></extra>",
            )
    for marked, marker in (
        ([p for p in one.points if p.is_default], {"symbol": "circle-open", "size": 12, "color": DEFAULT_COLOR}),
        ([p for p in one.points if p.is_winner], {"symbol": "star", "size": 13, "color": WINNER_COLOR}),
    ):
        if marked:
            figure.add_scatter(
                x=[point.value for point in marked],
                y=[_rounded(point.score) for point in marked],
                mode="markers",
                marker={**marker, "line": {"width": 2}} if "open" in str(marker["symbol"]) else marker,
                hoverinfo="skip",
            )
    return Plot(figure, f"{metric} over {one.path}.")


def _rounded(score: float) -> float:
    return float(f"{score:.5g}")


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return slices_parts(slices_info(view))
