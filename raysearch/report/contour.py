"""Panel: the score over the two most important searched numbers."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from raysearch.algorithms.unit_cube import to_unit
from raysearch.history.history import TrialHistory
from raysearch.report.parts import (
    DEFAULT_COLOR,
    WINNER_COLOR,
    Part,
    Plot,
    Text,
    log_axis,
    new_figure,
    spread_over,
)
from raysearch.report.view import SearchView
from raysearch.results.importances import MIN_TRIALS, at_common_iteration

MAX_TRIALS = 200
"""Maximum number of trials that the surface is fitted to: the time grows with the third power of their number."""

_STEPS = 25

Floats = NDArray[np.float64]
Range = FloatDistribution | IntDistribution


@dataclass(frozen=True)
class ContourPoint:
    """One trial in the plane of the two values."""

    number: int
    x: float
    y: float
    score: float
    is_winner: bool
    is_default: bool


@dataclass(frozen=True)
class ContourInfo:
    """The fitted surface and the trials that it is fitted to."""

    metric: str
    is_max: bool
    iteration: int
    """Iteration at which the scores are compared."""
    paths: tuple[str, str]
    """Paths of the most important number and of the second one."""
    is_log: tuple[bool, bool]
    points: tuple[ContourPoint, ...]
    grid: tuple[tuple[float, ...], tuple[float, ...]]
    """Values of each path, over its whole range."""
    surface: tuple[tuple[float, ...], ...]
    """Fitted scores, one row for each value of the second path."""
    explained: float
    """Share of the score's variance that the surface predicts for trials that are left out of the fit; below 0 if it is
    worse than their mean.
    """


def contour_info(view: SearchView) -> ContourInfo | str:
    """Return a smooth fit of the score over the two most important numbers, or the reason why there is none."""
    common = at_common_iteration(view.history)
    if common is None or len(common.values) < MIN_TRIALS:
        num_values = 0 if common is None else len(common.values)
        return f"Too few trials: this panel needs {MIN_TRIALS} comparable values and has {num_values}."
    ranges = {path: one for path, one in view.distributions.items() if isinstance(one, Range)}
    numbers = [path for path in view.paths_by_importance if path in ranges][:2]
    if len(numbers) < 2:
        return f"This panel needs two searched numbers, and the space has {len(numbers) or 'none'}."
    first, second = numbers
    both = [(trial, score) for trial, score in common.values if first in trial.params and second in trial.params]
    ranked = sorted(both, key=lambda pair: pair[1], reverse=view.mode == "max")
    both = spread_over(ranked, MAX_TRIALS, lambda pair: pair[0].is_default)
    scores = np.array([score for _, score in both])
    if len(both) < MIN_TRIALS or not 0.0 < np.ptp(scores) < np.inf:
        return f"The trials that used both {first} and {second} are too few, or all have the same score."
    places = np.array([[to_unit(ranges[path], trial.params[path]) for path in numbers] for trial, _ in both])
    grid = tuple(tuple(_steps(ranges[path])) for path in numbers)
    surface, explained = _fit(
        places, scores, [[to_unit(ranges[p], v) for v in g] for p, g in zip(numbers, grid, strict=True)]
    )
    return ContourInfo(
        metric=view.metric,
        is_max=view.mode == "max",
        iteration=common.iteration,
        paths=(first, second),
        is_log=(ranges[first].log, ranges[second].log),
        points=tuple(sorted((_point(*pair, first, second, view) for pair in both), key=lambda point: point.number)),
        grid=(grid[0], grid[1]),
        surface=tuple(tuple(float(f"{value:.5g}") for value in row) for row in surface),
        explained=explained,
    )


def _point(trial: TrialHistory, score: float, first: str, second: str, view: SearchView) -> ContourPoint:
    x, y = trial.params[first], trial.params[second]
    return ContourPoint(trial.number, x, y, score, view.is_winner(trial), trial.is_default)


def _steps(distribution: Range) -> list[float]:
    steps = np.geomspace if distribution.log else np.linspace
    return [float(f"{value:.6g}") for value in steps(distribution.low, distribution.high, _STEPS)]


def _fit(places: Floats, scores: Floats, grid: Sequence[Sequence[float]]) -> tuple[Floats, float]:
    """Fit a Gaussian process over two values in [0, 1], to which the effect of all others is noise.

    Returns:
        Its mean on a grid (second, first), and the share of the variance that it predicts for each score from the
        others, with the hyperparameters kept.
    """
    scale = float(scores.std())
    targets = (scores - scores.mean()) / scale
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * RBF([0.4, 0.4], (0.1, 5.0)) + WhiteKernel(0.3, (1e-3, 2.0))
    process = GaussianProcessRegressor(kernel, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length scale at its bound belongs to a value without effect
        process.fit(places, targets)
    inverse = np.linalg.inv(process.kernel_(places))
    left_out = inverse @ targets / np.diag(inverse)  # eq. 5.12 of Rasmussen and Williams (2006)
    x, y = np.meshgrid(*grid)
    surface = process.predict(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    return surface * scale + scores.mean(), float(1.0 - (left_out**2).mean())


def contour_parts(info: ContourInfo | str) -> list[Part]:
    """Draw the surface in shades, with the trials on it."""
    if isinstance(info, str):
        return [Text(info)]
    first, second = info.paths
    worth = (
        f"Together, the two explain {info.explained:.0%} of the variance of trials that were left out of the fit."
        if info.explained > 0.0
        else "The fit predicts nothing about trials that were left out of it, so the surface is only a guess."
    )
    text = (
        f"{info.metric} at iteration {info.iteration} over {first} and {second}, the two most important numbers: a "
        f"smooth fit by a Gaussian process, which treats all other values as noise. {worth} Stronger blue is better."
    )
    figure = new_figure(460, hovermode="closest", legend={"y": 1.02})
    clear, strong = "rgba(59,130,196,0.03)", "rgba(59,130,196,0.95)"
    figure.add_contour(
        x=list(info.grid[0]),
        y=list(info.grid[1]),
        z=[list(row) for row in info.surface],
        colorscale=[[0, clear], [1, strong]] if info.is_max else [[0, strong], [1, clear]],
        ncontours=12,
        line={"width": 0.5, "color": "#868e99"},
        contours={"coloring": "heatmap"},
        colorbar={"thickness": 10, "outlinewidth": 0, "title": {"text": escape(info.metric), "side": "right"}},
        hovertemplate="fit %{z:.4g}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
    )
    common = [point for point in info.points if not (point.is_winner or point.is_default)]
    for name, points, marker in (
        ("trial", common, {"size": 6, "color": "#868e99"}),
        ("default", [p for p in info.points if p.is_default], {"size": 12, "color": DEFAULT_COLOR}),
        ("winner", [p for p in info.points if p.is_winner], {"size": 14, "color": WINNER_COLOR, "symbol": "star"}),
    ):
        if points:
            figure.add_scatter(
                x=[point.x for point in points],
                y=[point.y for point in points],
                customdata=[[point.number, point.score] for point in points],
                mode="markers",
                name=name,
                marker={**marker, "line": {"width": 1, "color": "#ffffff"}},
                hovertemplate="trial %{customdata[0]}<br>%{customdata[1]:.4g}<extra></extra>",
            )
    axes = ((figure.update_xaxes, first, info.is_log[0], 0), (figure.update_yaxes, second, info.is_log[1], 1))
    for update, path, is_log, place in axes:
        ends = info.grid[place][0], info.grid[place][-1]
        update(title=escape(path), range=[float(np.log10(end)) for end in ends] if is_log else list(ends))
        if is_log:
            update(log_axis(*ends))
    return [Text(text), Plot(figure, f"Surface of {info.metric} over {first} and {second}.", min_width_px=340)]


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return contour_parts(contour_info(view))
