"""Samplers of Optuna that depend only on their seed and on the trials so far."""

import abc
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial

from raysearch.algorithms.searched_space import FlatSpace, SearchedSpace
from raysearch.algorithms.study_history import history_of
from raysearch.history.history import History


@dataclass(frozen=True)
class Question:
    """A request for the values of one trial."""

    space: SearchedSpace
    history: History
    number: int
    """Number of the trial."""
    redraw: int = 0
    """Number of earlier answers for this trial that were not used."""
    num_rejected: int = 0
    """Number of those answers that satisfy the space's constraints but were rejected for another reason."""
    may_start: Callable[[Mapping[str, Any]], bool] = lambda _: True
    """Function that returns True if values may be started."""

    def seed(self, of_search: int) -> int:
        """Return the seed of the answer, given the seed of the search."""
        return int(np.random.SeedSequence([of_search, self.number, self.redraw]).generate_state(1)[0])


class HistorySampler(BaseSampler):
    """A sampler whose proposals are a function of its seed, the trials so far and the number of the new trial.

    It keeps no state between proposals. A study that is loaded again, or whose trials are copied to a new study,
    therefore continues as it would have. In a study of Optuna, the sampler proposes the parameters that all trials so
    far have in common. All other parameters, and the whole first trial, are drawn at random. A search calls `propose`,
    which also supports conditions between parameters.
    """

    _knows_several_objectives = False

    def __init__(self, seed: int | None = None) -> None:
        """Create a sampler.

        Args:
            seed: Seed of all proposals; None draws a seed.
        """
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed

    @abc.abstractmethod
    def propose(self, question: Question) -> dict[str, Any] | None:
        """Return the values of a trial by path, inactive ones left out; None if the sampler has no proposal."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that all completed and pruned trials share and that have more than one value."""
        shared = intersection_search_space(study.get_trials(deepcopy=False), include_pruned=True)
        return {name: distribution for name, distribution in shared.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a proposal; it may be empty, and Optuna then draws the parameters at random."""
        self._refuse(study)
        if not search_space:
            return {}
        history = history_of(study, search_space, trial.number)
        return self.propose(Question(FlatSpace.of(search_space), history, trial.number)) or {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value."""
        self._refuse(study)
        words = [self.seed, trial.number, zlib.crc32(param_name.encode())]
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        return RandomSampler(seed=seed).sample_independent(study, trial, param_name, param_distribution)

    def _refuse(self, study: Study) -> None:
        if not self._knows_several_objectives:
            self._raise_error_if_multi_objective(study)
