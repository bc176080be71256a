"""Quasi-random search: a scrambled Sobol sequence over all parameters, conditional ones included."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from raysearch.algorithms.history_sampler import HistorySampler, Question
from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.algorithms.unit_cube import active_values, from_unit

_MAX_POINTS = 2**13
"""Number of points of a sequence among which points that satisfy every constraint are looked for."""


class SobolSampler(HistorySampler):
    """A Sobol sequence scrambled by the seed, of which trial n always gets point n.

    Optuna's own `QMCSampler` counts its points in the study. It draws the first trial and conditional parameters at
    random, and does not support constraints between values.
    """

    _knows_several_objectives = True

    def propose(self, question: Question) -> dict[str, Any] | None:
        """Return the point of the trial's number; if it was rejected, a point of another sequence."""
        return point(question, self.seed)


def point(question: Question, search_seed: int) -> dict[str, Any] | None:
    """Return the point of a trial's number among the points that satisfy every constraint.

    After every rejected answer, the sequence is scrambled anew and the point at the same index is taken.
    """
    space, index = question.space, question.number + question.redraw - question.num_rejected
    rng = np.random.default_rng([search_seed, question.num_rejected])
    sequence = qmc.Sobol(len(space.parameters), scramble=True, rng=rng)
    skipped = 0 if space.constraints else index  # without constraints every point counts
    if skipped > 0:  # SciPy's Sobol sequence cannot be forwarded by 0
        sequence.fast_forward(skipped)
    points = (_values(space, sequence.random(1)[0]) for _ in range(_MAX_POINTS))
    return next(itertools.islice(filter(space.allows, points), index - skipped, None), None)


def _values(space: SearchedSpace, coordinates: npt.NDArray[np.float64]) -> dict[str, Any]:
    searched = zip(space.parameters, coordinates, strict=True)
    return active_values(space, {p.path: from_unit(p.distribution, float(u)) for p, u in searched})
