"""BoTorch's noisy expected improvement as Ax builds it: a Gaussian process over final scores, without early stopping.

The centre of the space and four Sobol points come first. Then every trial maximises qLogNoisyExpectedImprovement of a
SingleTaskGP, or of a MixedSingleTaskGP where there are choices. Inactive parameters keep the values that were proposed.
"""

import math
from typing import Any

import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.gp_regression_mixed import MixedSingleTaskGP
from botorch.optim import optimize_acqf
from botorch.optim.optimize_mixed import optimize_acqf_mixed_alternating
from gpytorch.mlls import ExactMarginalLogLikelihood
from optuna.distributions import CategoricalDistribution
from torch.quasirandom import SobolEngine

from benchmarks.search.simulation import Start
from benchmarks.search.task import Task
from benchmarks.search.tools import Peer, Values
from raysearch.algorithms.unit_cube import active_values, from_unit

_NUM_INITIAL = 5
_NUM_RESTARTS, _NUM_RAW = 20, 1024
"""Ax's numbers of restarts and of raw samples."""


class QLogNEI:
    """The search; it names the trial with the best expected score."""

    def __init__(self, task: Task, seed: int) -> None:
        self._spec, self._max_iters = task.spec(seed), task.iterations[-1]
        self._distributions = [parameter.distribution for parameter in self._spec.parameters]
        self._choices = {
            place: list(range(len(d.choices)))
            for place, d in enumerate(self._distributions)
            if isinstance(d, CategoricalDistribution)
        }
        torch.manual_seed(seed)
        self._sobol = SobolEngine(len(self._distributions), scramble=True, seed=seed)
        self._points: list[torch.Tensor] = []
        """Point of every trial: numbers in the unit cube, choices by their places."""
        self._scores: dict[int, float] = {}
        """Final score of every trial that completed."""
        self._running: set[int] = set()

    def propose(self) -> Start:
        number = len(self._points)
        if number < _NUM_INITIAL or len(self._scores) < 2:
            u = torch.full((len(self._distributions),), 0.5) if number == 0 else self._sobol.draw()[0]
            point = u.double()
            for place, choices in self._choices.items():
                point[place] = math.floor(point[place] * len(choices))
        else:
            point = self._best_candidate()
        self._points.append(point)
        self._running.add(number)
        return Start(number, self._values(number))

    def report(self, trial: int, iteration: int, score: float) -> bool:
        if math.isnan(score) or iteration == self._max_iters:
            self._running.discard(trial)
            if not math.isnan(score):
                self._scores[trial] = score
        return True

    def named(self) -> Values | None:
        if not self._scores:
            return None
        if len(self._scores) < 2:
            return self._values(next(iter(self._scores)))
        trials, model = list(self._scores), self._model()
        with torch.no_grad():
            means = model.posterior(torch.stack([self._points[trial] for trial in trials])).mean
        return self._values(trials[int(means.argmax())])

    def _best_candidate(self) -> torch.Tensor:
        pending = [self._points[trial] for trial in sorted(self._running)]
        acquisition = qLogNoisyExpectedImprovement(
            self._model(),
            X_baseline=torch.stack([self._points[trial] for trial in self._scores]),
            X_pending=torch.stack(pending) if pending else None,
            prune_baseline=True,
        )
        bounds = torch.zeros(2, len(self._distributions), dtype=torch.double)
        bounds[1] = 1.0
        sizes: dict[str, Any] = {"q": 1, "num_restarts": _NUM_RESTARTS, "raw_samples": _NUM_RAW}
        if not self._choices:
            numbers: torch.Tensor = optimize_acqf(acquisition, bounds, **sizes)[0][0]
            return numbers
        for place, choices in self._choices.items():
            bounds[1, place] = choices[-1]
        mixed: torch.Tensor = optimize_acqf_mixed_alternating(acquisition, bounds, cat_dims=self._choices, **sizes)[0][
            0
        ]
        return mixed

    def _model(self) -> SingleTaskGP:
        x = torch.stack([self._points[trial] for trial in self._scores])
        y = torch.tensor(list(self._scores.values()), dtype=torch.double)[:, None]
        model = MixedSingleTaskGP(x, y, cat_dims=list(self._choices)) if self._choices else SingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model

    def _values(self, trial: int) -> Values:
        values = {}
        for place, (parameter, number) in enumerate(
            zip(self._spec.parameters, self._points[trial].tolist(), strict=True)
        ):
            if place in self._choices:
                values[parameter.path] = parameter.distribution.choices[round(number)]  # type: ignore[attr-defined]
            else:
                values[parameter.path] = from_unit(parameter.distribution, min(number, 1.0 - 1e-12))
        return active_values(self._spec, values)


def opened(task: Task, seed: int) -> Peer:
    """Return a new search."""
    return QLogNEI(task, seed)
