"""Worlds of learning curves that a model draws from recorded trainings of our own: Gaussian process, or forest.

A table of recorded trainings is a Parquet file with one row per trial and report, which `train_table` writes. Curves of
configs that were never trained come from a model that is fitted to it. Both models belong to another class than the one
by which any of the compared tools searches, or at least to one of two.
"""

import json
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import qmc
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import RidgeCV

from benchmarks.search.task import Array, Curve, Task, noise_of, point_of
from raysearch.algorithms.unit_cube import around

METADATA = b"training"
"""Key of the file's metadata that holds name, config, space and shared iterations as JSON."""

_NUM_FEATURES = 512
"""Number of random Fourier features of a drawn function."""
_NUM_SEARCHED, _NUM_CENTRES, _NUM_AROUND, _NUM_ROUNDS = 2**12, 8, 128, 4
"""Sizes of the search for a world's best config: random points, and rounds of points around the best of them."""
_NUM_TREES, _MIN_LEAF = 50, 2


@dataclass(frozen=True)
class Trainings:
    """The learning curves of n recorded trials with r reports each."""

    task: Task
    points: Array
    """(n, D) points in the unit cube."""
    scores: Array
    """(n, r) mIoU of the moving average; NaN from the report at which a trial diverged."""
    seconds_per_iteration: Array
    """(n,) seconds per iteration; NaN without a report."""


def read(path: Path, suffix: str) -> Trainings:
    """Read recorded trainings as the table `NAME-SUFFIX`."""
    stored = pq.read_table(path)
    common = json.loads(stored.schema.metadata[METADATA])
    rows = stored.to_pylist()
    trials = {row["trial"]: row for row in rows}
    iterations = tuple(sorted({row["iteration"] for row in rows if row["miou_ema"] is not None}))
    task = Task(f"{common['name']}-{suffix}", common["space"], iterations, common["shared_iters"])
    spec = task.spec(seed=0)
    place = {trial: i for i, trial in enumerate(sorted(trials))}
    scores = np.full((len(trials), len(iterations)), math.nan)
    seconds = scores.copy()
    for row in rows:
        if row["miou_ema"] is not None:
            at = place[row["trial"]], iterations.index(row["iteration"])
            scores[at], seconds[at] = row["miou_ema"], row["seconds"]
    lengths = np.diff(np.array([task.shared_iters, *iterations]))
    reported = np.isfinite(seconds)
    total, trained = np.where(reported, seconds, 0.0).sum(axis=1), (reported * lengths).sum(axis=1)
    return Trainings(
        task=task,
        points=np.array([point_of(spec, trials[trial]) for trial in sorted(trials)]),
        scores=scores,
        seconds_per_iteration=np.where(trained > 0, total / np.maximum(trained, 1), math.nan),
    )


class _Recorded:
    """What both models share: the trials that ended, those that diverged, and the seconds of an iteration."""

    def __init__(self, trainings: Trainings) -> None:
        self.task = trainings.task
        self.spec = trainings.task.spec(seed=0)
        whole = np.isfinite(trainings.scores).all(axis=1)
        self.points, self.scores = trainings.points[whole], trainings.scores[whole]
        self._diverged = trainings.points[~whole]
        self._diverged_at = [int(np.isfinite(scores).sum()) for scores in trainings.scores[~whole]]
        timed = np.isfinite(trainings.seconds_per_iteration)
        seconds = trainings.seconds_per_iteration[timed]
        self._log_seconds = RidgeCV(np.logspace(-2, 3, 11)).fit(trainings.points[timed], np.log(seconds))

    def seconds_at(self, point: Array) -> float:
        """Return the seconds of an iteration at a point."""
        return float(np.exp(self._log_seconds.predict(point[None])[0]))

    def diverges_at(self, point: Array) -> int | None:
        """Return the index of the report at which a training diverges: as its nearest recorded trial did."""
        if not len(self._diverged):
            return None
        distances = np.linalg.norm(self._diverged - point, axis=1)
        if distances.min() >= np.linalg.norm(self.points - point, axis=1).min():
            return None
        return self._diverged_at[int(distances.argmin())]


class _World(ABC):
    """What the worlds of both models share: `true_scores` and `noise` come from the model."""

    def __init__(self, recorded: _Recorded) -> None:
        self._recorded = recorded

    @abstractmethod
    def true_scores(self, points: Array) -> Array:
        """Return the scores (m, r) without noise at points (m, D) of the unit cube."""

    @abstractmethod
    def noise(self, values: Mapping[str, Any]) -> Array:
        """Return the noise (r,) of a training."""

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """Return the learning curve of a config."""
        point = point_of(self._recorded.spec, values)
        scores = self.true_scores(point[None])[0] + self.noise(values)
        diverges_at = self._recorded.diverges_at(point)
        if diverges_at is not None:
            scores[diverges_at:] = math.nan
        return Curve(tuple(scores.tolist()), self._recorded.seconds_at(point))

    def true_score(self, values: Mapping[str, Any]) -> float:
        """Return the score of a config at the full budget, without noise."""
        return float(self.true_scores(point_of(self._recorded.spec, values)[None])[0, -1])

    @property
    def best(self) -> float:
        """Largest true score that a long search finds."""
        return self._best_and_median[0]

    @property
    def median(self) -> float:
        """Median true score of random configs."""
        return self._best_and_median[1]

    @cached_property
    def _best_and_median(self) -> tuple[float, float]:
        rng = np.random.default_rng(0)
        sample = qmc.Sobol(self._recorded.points.shape[1], rng=rng).random(_NUM_SEARCHED)
        scores = self.true_scores(sample)[:, -1]
        median = float(np.median(scores))
        points = np.concatenate([sample, self._recorded.points])
        scores = np.concatenate([scores, self.true_scores(self._recorded.points)[:, -1]])
        for _ in range(_NUM_ROUNDS):
            near = around(points[np.argsort(-scores)[:_NUM_CENTRES]], _NUM_AROUND, rng, (0.005, 0.2))
            points = np.concatenate([points, near])
            scores = np.concatenate([scores, self.true_scores(near)[:, -1]])
        return float(scores.max()), median


class ForestTable(_Recorded):
    """Random forests: a world is a forest of its own, fitted to a bootstrap sample of the recorded trials."""

    def world(self, seed: int) -> "_ForestWorld":
        """Fit the forest of a seed."""
        return _ForestWorld(self, seed)


class _ForestWorld(_World):
    def __init__(self, table: ForestTable, seed: int) -> None:
        super().__init__(table)
        self._seed = seed
        chosen = np.random.default_rng([seed, 1]).integers(len(table.points), size=len(table.points))
        forest = RandomForestRegressor(
            _NUM_TREES, min_samples_leaf=_MIN_LEAF, random_state=seed, bootstrap=False, max_features=0.5
        )
        self._forest = forest.fit(table.points[chosen], table.scores[chosen])
        self._residuals = table.scores - self.true_scores(table.points)

    def true_scores(self, points: Array) -> Array:
        scores: Array = self._forest.predict(points)
        return scores

    def noise(self, values: Mapping[str, Any]) -> Array:
        """Return the residual curve of a recorded trial, drawn for the config."""
        share = 0.5 * (1.0 + math.erf(float(noise_of(values, self._seed, 1)[0]) / math.sqrt(2.0)))
        residual: Array = self._residuals[min(int(share * len(self._residuals)), len(self._residuals) - 1)]
        return residual


class GaussianTable(_Recorded):
    """Gaussian processes over the principal components of curves.

    A world is one draw of these functions that agrees with the recorded trials within the noise, plus noise of every
    config. Worlds differ where the trials say little. Whole components are drawn, so early scores predict final ones
    about as well as in the recorded trials.
    """

    def __init__(self, trainings: Trainings) -> None:
        """Fit one process to each component."""
        super().__init__(trainings)
        self.centre = self.scores.mean(axis=0)
        _, _, self.components = np.linalg.svd(self.scores - self.centre, full_matrices=False)
        self.models = [_fit(self.points, z) for z in ((self.scores - self.centre) @ self.components.T).T]

    def world(self, seed: int) -> "_GaussianWorld":
        """Draw the functions of a seed."""
        return _GaussianWorld(self, seed)


class _GaussianWorld(_World):
    def __init__(self, table: GaussianTable, seed: int) -> None:
        super().__init__(table)
        self._table, self._seed = table, seed
        self._functions = [
            _Function(model, table.points, np.random.default_rng([seed, i])) for i, model in enumerate(table.models)
        ]
        self._deviations = [math.sqrt(m.kernel_.k2.noise_level) * m._y_train_std for m in table.models]

    def true_scores(self, points: Array) -> Array:
        components = np.stack([function(points) for function in self._functions], axis=1)
        scores: Array = self._table.centre + components @ self._table.components
        return scores

    def noise(self, values: Mapping[str, Any]) -> Array:
        draws = noise_of(values, self._seed, len(self._functions))
        noise: Array = (draws * self._deviations) @ self._table.components
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


def _fit(points: Array, scores: Array) -> GaussianProcessRegressor:
    """Return a Gaussian process with one length scale per parameter."""
    kernel = ConstantKernel(1.0, (0.05, 50.0)) * Matern(np.full(points.shape[1], 1.0), (0.2, 20.0), nu=2.5)
    process = GaussianProcessRegressor(kernel + WhiteKernel(0.1, (0.01, 2.0)), normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter without effect reaches the bound
        return process.fit(points, scores)
