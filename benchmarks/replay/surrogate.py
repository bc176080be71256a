"""Expected learning curves of configs that were never trained: Gaussian processes fitted to a table of curves.

Curves are decomposed into principal components. Each component is a smooth function of the config plus noise. A world
is one draw of these functions that agrees with the table within the noise, plus separate noise for every config. Worlds
differ where the table says little. Whole components are drawn, so early scores predict final ones about as well as in
the real trials.
"""

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
_NUM_FEATURES = 512
"""Number of random Fourier features of a drawn function."""
_NUM_SEARCHED = 2**12
_NUM_CLIMBED = 10
"""Number of points of a world among which its best is searched, and number of them from which it is improved."""


@dataclass(frozen=True)
class Curve:
    """The learning curve of one config."""

    scores: tuple[float, ...]
    """Score at every report; NaN from the report at which the training diverges."""
    seconds_per_iteration: float


@dataclass(frozen=True)
class ReportError:
    """The error of the surrogate at one report, and how well the scores there predict the final ones."""

    iteration: int
    r2: float
    """Coefficient of determination on trials that were left out of the fit."""
    rmse: float
    noise: float
    """Standard deviation of the fitted noise."""
    correlation_data: float
    """Spearman's rho between this report and the last one, among the trials of the table."""
    correlation_simulated: float
    """Spearman's rho among simulated trials, the median of some worlds."""


class Surrogate:
    """Learning curves of all configs of a task, in as many worlds as there are seeds."""

    def __init__(self, table: Table) -> None:
        """Fit a table; this takes some ten seconds for a hundred trials."""
        self.task = table.task
        self.iterations = table.iterations
        whole = np.isfinite(table.scores).all(axis=1)
        self.points, self.scores = table.points[whole], table.scores[whole]
        self.diverged = table.points[~whole]
        self.diverged_at = [int(np.isfinite(scores).sum()) for scores in table.scores[~whole]]
        self.centre = self.scores.mean(axis=0)
        _, _, self.components = np.linalg.svd(self.scores - self.centre, full_matrices=False)
        self.models = [_fit(self.points, z) for z in ((self.scores - self.centre) @ self.components.T).T]
        timed = np.isfinite(table.seconds_per_iteration)
        regression = RidgeCV(np.logspace(-2, 3, 11))
        self.log_seconds = regression.fit(table.points[timed], np.log(table.seconds_per_iteration[timed]))

    def errors(self, num_worlds: int = 10) -> list[ReportError]:
        """Return the surrogate's error at every report."""
        residuals = self.scores - self._cross_validate()
        noises = np.array([_noise(model) for model in self.models])
        points = qmc.Sobol(len(self.task.parameters), rng=np.random.default_rng(1)).random(512)
        simulated = [World(self, seed).noisy(points) for seed in range(num_worlds)]
        found = []
        for i, iteration in enumerate(self.iterations):
            early, final = self.scores[:, i], self.scores[:, -1]
            correlations = [float(spearmanr(scores[:, i], scores[:, -1]).statistic) for scores in simulated]
            found.append(
                ReportError(
                    iteration=iteration,
                    r2=1.0 - float((residuals[:, i] ** 2).mean()) / float(early.var()),
                    rmse=float(np.sqrt((residuals[:, i] ** 2).mean())),
                    noise=float(np.sqrt(noises**2 @ self.components[:, i] ** 2)),
                    correlation_data=float(spearmanr(early, final).statistic),
                    correlation_simulated=float(np.median(correlations)),
                )
            )
        return found

    def _cross_validate(self) -> Array:
        """Return cross-validated scores (n, r): those that a fit without the trial predicts."""
        fold = np.random.default_rng(0).permutation(len(self.points)) % _NUM_FOLDS
        components = (self.scores - self.centre) @ self.components.T
        expected = np.empty_like(components)
        for hidden in (fold == k for k in range(_NUM_FOLDS)):
            for i, model in enumerate(self.models):
                refitted = _fit(self.points[~hidden], components[~hidden, i], start=model)
                expected[hidden, i] = refitted.predict(self.points[hidden])
        curves: Array = self.centre + expected @ self.components
        return curves


class World:
    """One draw of the functions that the table may come from, with the noise of every config."""

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        """Draw the world of a seed."""
        self.iterations = surrogate.iterations
        self._surrogate = surrogate
        self._seed = seed
        self._functions = [
            _Function(model, surrogate.points, np.random.default_rng([seed, i]))
            for i, model in enumerate(surrogate.models)
        ]

    def true_scores(self, points: Array) -> Array:
        """Return the scores (m, r) without noise at points (m, D) of the unit cube."""
        components = np.stack([function(points) for function in self._functions], axis=1)
        scores: Array = self._surrogate.centre + components @ self._surrogate.components
        return scores

    def noisy(self, points: Array) -> Array:
        """Return the scores (m, r) as they are reported, with noise."""
        return self.true_scores(points) + np.array([self._noise_at(point) for point in points])

    @cached_property
    def best_known(self) -> float:
        """Largest true score at the full budget: that of a dense sample, improved from its best points."""
        dimensions = self._surrogate.points.shape[1]
        sample = qmc.Sobol(dimensions, rng=np.random.default_rng(0)).random(_NUM_SEARCHED)
        points = np.concatenate([sample, self._surrogate.points])
        scores = self.true_scores(points)[:, -1]
        climbed = [
            minimize(
                lambda point: -float(self.true_scores(point[None])[0, -1]),
                points[start],
                bounds=[(0.0, 1.0)] * dimensions,
                method="L-BFGS-B",
            )
            for start in np.argsort(-scores)[:_NUM_CLIMBED]
        ]
        return max(float(scores.max()), *(-float(result.fun) for result in climbed))

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """Return the learning curve of a config; it is always the same in this world."""
        surrogate = self._surrogate
        point = surrogate.task.point_of(values)
        scores = self.noisy(point[None])[0]
        if len(surrogate.diverged):
            distances = np.linalg.norm(surrogate.diverged - point, axis=1)
            if distances.min() < np.linalg.norm(surrogate.points - point, axis=1).min():
                scores[surrogate.diverged_at[int(distances.argmin())] :] = math.nan
        seconds = float(np.exp(surrogate.log_seconds.predict(point[None])[0]))
        return Curve(tuple(float(score) for score in scores), seconds)

    def regret(self, values: Mapping[str, Any]) -> float:
        """Return the difference between the best known score and the true score of a config at the full budget."""
        point = self._surrogate.task.point_of(values)
        return self.best_known - float(self.true_scores(point[None])[0, -1])

    def _noise_at(self, point: Array) -> Array:
        digest = hashlib.sha256(np.append(np.round(point, 9), float(self._seed)).tobytes()).digest()
        draws = np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(len(self._functions))
        noise: Array = (draws * [_noise(model) for model in self._surrogate.models]) @ self._surrogate.components
        return noise


class _Function:
    """A draw from the posterior of a Gaussian process, by Matheron's rule (Wilson et al., arXiv 2011.04026).

    A draw from the prior, made of random Fourier features, is corrected so that it agrees with the observations minus a
    draw of their noise. The spectral density of the Matérn 5/2 kernel is a multivariate t with 5 degrees of freedom.
    """

    def __init__(self, model: GaussianProcessRegressor, points: Array, rng: np.random.Generator) -> None:
        self._model, self._points = model, points
        signal, self._scales = model.kernel_.k1.k1.constant_value, model.kernel_.k1.k2.length_scale
        shape = _NUM_FEATURES, points.shape[1]
        heavy = np.sqrt(5.0 / rng.chisquare(5.0, size=(_NUM_FEATURES, 1)))
        self._frequencies = rng.standard_normal(shape) * heavy / self._scales
        self._phases = rng.uniform(0.0, 2.0 * math.pi, _NUM_FEATURES)
        self._weights = rng.standard_normal(_NUM_FEATURES) * math.sqrt(2.0 * signal / _NUM_FEATURES)
        noise = model.kernel_.k2.noise_level
        missing = model.y_train_ - self._prior(points) - rng.normal(0.0, math.sqrt(noise), len(points))
        self._solved = np.linalg.solve(model.kernel_(points), missing)

    def __call__(self, points: Array) -> Array:
        drawn = self._prior(points) + self._model.kernel_.k1(points, self._points) @ self._solved
        values: Array = self._model._y_train_mean + self._model._y_train_std * drawn
        return values

    def _prior(self, points: Array) -> Array:
        prior: Array = np.cos(points @ self._frequencies.T + self._phases) @ self._weights
        return prior


def _noise(model: GaussianProcessRegressor) -> float:
    """Return the standard deviation of a component's noise, in the component's own units."""
    return float(math.sqrt(model.kernel_.k2.noise_level) * model._y_train_std)


def _fit(points: Array, scores: Array, start: GaussianProcessRegressor | None = None) -> GaussianProcessRegressor:
    """Return a Gaussian process with one length scale per parameter; `start` is a fit whose kernel is reused."""
    if start is None:
        kernel = ConstantKernel(1.0, (0.05, 50.0)) * Matern(np.full(points.shape[1], 1.0), (0.2, 20.0), nu=2.5)
        kernel = kernel + WhiteKernel(0.1, (0.01, 2.0))
    else:
        kernel = start.kernel_
    process = GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=2 if start is None else 0, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter without effect reaches the bound
        return process.fit(points, scores)
