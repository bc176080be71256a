"""Quasi-random search: a scrambled Sobol sequence over all parameters, those under a condition among them."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from raysearch.algorithms.history_sampler import HistorySampler, Question
from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.algorithms.unit_cube import active_values, from_unit

_MAX_POINTS = 2**13
"""Points of a sequence of which those that hold every constraint are taken."""


class SobolSampler(HistorySampler):
    """A Sobol sequence that the seed scrambles: trial n is point n, whoever asks for it.

    Optuna's own `QMCSampler` counts its points in the study that it is asked over, draws the first trial and what is
    under a condition at random, and knows no constraint between values.
    """

    _knows_several_objectives = True

    def propose(self, question: Question) -> dict[str, Any] | None:
        """Return the point of the trial's number; where it was rejected, one of another sequence."""
        return point(question, self.seed)


def point(question: Question, search_seed: int) -> dict[str, Any] | None:
    """Return the point of a trial's number, of those that hold every constraint.

    Every answer that was rejected gives way to the same point of a sequence that is scrambled anew.
    """
    space, index = question.space, question.number + question.redraw - question.num_rejected
    rng = np.random.default_rng([search_seed, question.num_rejected])
    sequence = qmc.Sobol(len(space.parameters), scramble=True, rng=rng)
    skipped = 0 if space.constraints else index  # without constraints every point counts
    if skipped > 0:  # SciPy's Sobol sequence cannot be forwarded by nothing
        sequence.fast_forward(skipped)
    points = (_values(space, sequence.random(1)[0]) for _ in range(_MAX_POINTS))
    return next(itertools.islice(filter(space.allows, points), index - skipped, None), None)


def _values(space: SearchedSpace, coordinates: npt.NDArray[np.float64]) -> dict[str, Any]:
    searched = zip(space.parameters, coordinates, strict=True)
    return active_values(space, {p.path: from_unit(p.distribution, float(u)) for p, u in searched})
