"""CMA-ES (Hansen 2016, arXiv 1604.00772) with the `cmaes` package, over the numeric parameters that are always active.

Trials are divided into generations of the population size, in the order in which they end. The state is rebuilt from
them for every proposal. All other parameters are drawn at random.
"""

import math
from typing import Any

import numpy as np
from cmaes import CMA
from optuna.distributions import FloatDistribution, IntDistribution

from raysearch.algorithms.history_sampler import HistorySampler, Question
from raysearch.algorithms.optuna_samplers import suggest_at_random
from raysearch.algorithms.unit_cube import from_unit, to_unit
from raysearch.history.history import History

_SIGMA = 1.0 / 6.0
"""Initial step size in the unit cube, the default of Optuna's sampler."""


class StatelessCmaEsSampler(HistorySampler):
    """CMA-ES whose state is rebuilt from the trials for every proposal.

    Optuna's own `CmaEsSampler` keeps its state in the study. It would therefore start over in a study that is rebuilt
    from the values of trials alone.
    """

    def propose(self, question: Question) -> dict[str, Any]:
        """Return the next point of the evolution."""
        seed, space = question.seed(self.seed), question.space
        values = suggest_at_random(space, seed)
        numeric = {
            p.path: p.distribution
            for p in space.parameters
            if not p.when and isinstance(p.distribution, FloatDistribution | IntDistribution)
        }
        # CMA-ES needs two coordinates for a covariance, so a constant one is added to a single parameter.
        dimensions = max(2, len(numeric))
        population_size = 4 + math.floor(3 * math.log(dimensions))
        evolution = CMA(
            mean=np.full(dimensions, 0.5),
            sigma=_SIGMA,
            bounds=np.tile([0.0, 1.0], (dimensions, 1)),
            seed=seed,
            population_size=population_size,
        )
        told = _finished_points(question.history, numeric, dimensions)
        for start in range(0, len(told) - population_size + 1, population_size):
            evolution.tell(told[start : start + population_size])
            if evolution.should_stop():
                break
        coordinates = evolution.ask()[: len(numeric)]
        searched = zip(numeric.items(), coordinates, strict=True)
        drawn = {path: from_unit(distribution, min(float(u), 1.0 - 1e-9)) for (path, distribution), u in searched}
        return {path: drawn.get(path, value) for path, value in values.items()}


def _finished_points(
    history: History, numeric: dict[str, FloatDistribution | IntDistribution], dimensions: int
) -> list[tuple[np.ndarray[Any, np.dtype[np.float64]], float]]:
    """Return the points in the unit cube with their ranks, in the order in which their trials ended or paused.

    CMA-ES uses only the order of the losses. Trials that can win come first, in the order of `History.ranked`.
    Infeasible trials follow, ordered by the violation.
    """
    ended = [trial for trial in history.known_trials if trial.end_order is not None and trial.status != "failed"]
    finished = [trial for trial in ended if set(numeric) <= set(trial.params)]
    standings = {t.number: (t.violation > 0.0, *(history.standing(t) or (t.violation, 0.0))) for t in finished}
    places = {standing: float(place) for place, standing in enumerate(sorted(set(standings.values())))}
    points = []
    for trial in sorted(finished, key=lambda t: t.end_order or 0):
        point = np.full(dimensions, 0.5)
        point[: len(numeric)] = [to_unit(d, trial.params[path]) for path, d in numeric.items()]
        points.append((point, places[standings[trial.number]]))
    return points
