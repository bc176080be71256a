"""What a config that was never trained would have scored: Gaussian processes over a table, and what they leave over.

A learning curve is a smooth function of the config, which is fitted at every report by itself, plus a residual. The
residuals are those of trials that the fit was not shown (cross-validation), whole curves of them: so the order of early
and of final scores agrees as badly as it does among the trials themselves.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import qmc, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import RidgeCV

from benchmarks.replay.table import Table

Array = npt.NDArray[np.float64]

_NUM_FOLDS = 10
_NUM_ALIKE = 20
"""Trials among which a residual is drawn: those with the nearest expected final score, since noise depends on it."""

_NUM_SEARCHED = 2**14
_NUM_CLIMBED = 20


@dataclass(frozen=True)
class Curve:
    """The training of one config."""

    scores: tuple[float, ...]
    """At every report; NaN from where it diverges."""
    seconds_per_iteration: float


@dataclass(frozen=True)
class ReportError:
    """How well the surrogate knows the scores of one report, and how well these foretell the final ones."""

    iteration: int
    r2: float
    """Of trials that the fit was not shown."""
    rmse: float
    correlation_data: float
    """Spearman's rho of this report with the last one, among the trials of the table."""
    correlation_surrogate: float
    """The same among simulated trials."""


class Surrogate:
    """Learning curves of any config of a task."""

    def __init__(self, table: Table) -> None:
        """Fit a table; takes some ten seconds for a hundred trials."""
        self.task = table.task
        self.iterations = table.iterations
        self._table = table
        whole = np.isfinite(table.scores).all(axis=1)
        self._points, self._scores = table.points[whole], table.scores[whole]
        self._diverged = table.points[~whole]
        self._diverged_at = [int(np.isfinite(scores).sum()) for scores in table.scores[~whole]]
        self._models = [_fit(self._points, scores) for scores in self._scores.T]
        self._left_out = self._cross_validate()
        self._residuals = self._scores - self._left_out
        timed = np.isfinite(table.seconds_per_iteration)
        self._log_seconds = RidgeCV(np.logspace(-2, 3, 11)).fit(
            table.points[timed], np.log(table.seconds_per_iteration[timed])
        )
        self.best_known = self._search_best()
        """The largest true score: of a dense sample, climbed on from its best points."""

    def mean(self, points: Array) -> Array:
        """Expected scores at all reports, (m, r), at points of the unit cube, (m, D)."""
        return np.stack([model.predict(points) for model in self._models], axis=1)

    def true_score(self, values: Mapping[str, Any]) -> float:
        """The expected score at the full budget: what a search is after, without noise."""
        return float(self._models[-1].predict(self.task.point_of(values)[None])[0])

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """The training of a config in a world of its own, which `seed` makes: the same whenever it is trained there."""
        point = self.task.point_of(values)
        mean = self.mean(point[None])[0]
        scores = mean + self._residual(point, mean[-1], seed)
        if len(self._diverged):
            nearest = int(np.linalg.norm(self._diverged - point, axis=1).argmin())
            if np.linalg.norm(self._diverged[nearest] - point) < np.linalg.norm(self._points - point, axis=1).min():
                scores[self._diverged_at[nearest] :] = np.nan
        seconds = float(np.exp(self._log_seconds.predict(point[None])[0]))
        return Curve(tuple(float(score) for score in scores), seconds)

    def errors(self) -> list[ReportError]:
        """The surrogate's error at every report."""
        simulated = self._simulate(points=qmc.Sobol(len(self.task.parameters), rng=1).random(1024))
        found = []
        for i, iteration in enumerate(self.iterations):
            residuals, scores = self._residuals[:, i], self._scores[:, i]
            found.append(
                ReportError(
                    iteration=iteration,
                    r2=1.0 - float(residuals.var() + residuals.mean() ** 2) / float(scores.var()),
                    rmse=float(np.sqrt((residuals**2).mean())),
                    correlation_data=float(spearmanr(scores, self._scores[:, -1]).statistic),
                    correlation_surrogate=float(spearmanr(simulated[:, i], simulated[:, -1]).statistic),
                )
            )
        return found

    def _simulate(self, points: Array) -> Array:
        means = self.mean(points)
        residuals = [self._residual(point, mean[-1], 0) for point, mean in zip(points, means, strict=True)]
        return means + np.array(residuals)

    def _residual(self, point: Array, expected: float, seed: int) -> Array:
        digest = hashlib.sha256(np.append(np.round(point, 9), float(seed)).tobytes()).digest()
        alike = np.argsort(np.abs(self._left_out[:, -1] - expected), kind="stable")[:_NUM_ALIKE]
        chosen: Array = self._residuals[alike[int.from_bytes(digest[:8], "little") % len(alike)]]
        return chosen

    def _cross_validate(self) -> Array:
        """The scores, (n, r), that a fit expects of trials it was not shown."""
        fold = np.random.default_rng(0).permutation(len(self._points)) % _NUM_FOLDS
        expected = np.empty_like(self._scores)
        for k in range(_NUM_FOLDS):
            shown, hidden = fold != k, fold == k
            if not hidden.any():
                continue
            for i, model in enumerate(self._models):
                refitted = _fit(self._points[shown], self._scores[shown, i], start=model)
                expected[hidden, i] = refitted.predict(self._points[hidden])
        return expected

    def _search_best(self) -> float:
        dimensions = len(self.task.parameters)
        points = np.concatenate([qmc.Sobol(dimensions, rng=0).random(_NUM_SEARCHED), self._points])
        scores = self._models[-1].predict(points)
        climbed = [
            minimize(
                lambda point: -float(self._models[-1].predict(point[None])[0]),
                points[start],
                bounds=[(0.0, 1.0)] * dimensions,
                method="L-BFGS-B",
            )
            for start in np.argsort(-scores)[:_NUM_CLIMBED]
        ]
        return max(float(scores.max()), *(-float(result.fun) for result in climbed))


def _fit(points: Array, scores: Array, start: GaussianProcessRegressor | None = None) -> GaussianProcessRegressor:
    """A Gaussian process with a length scale for every parameter; `start` is a fit to begin from."""
    if start is None:
        kernel = ConstantKernel(1.0, (0.05, 50.0)) * Matern(np.full(points.shape[1], 1.0), (0.1, 20.0), nu=2.5)
        kernel = kernel + WhiteKernel(0.1, (1e-4, 2.0))
    else:
        kernel = start.kernel_
    process = GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=2 if start is None else 0, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is a parameter without effect
        return process.fit(points, scores)
