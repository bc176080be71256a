"""Samplers of Optuna that know nothing but their seed and the trials so far."""

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
    """What a sampler is asked: which values a trial should have."""

    space: SearchedSpace
    history: History
    number: int
    """Number of the trial."""
    redraw: int = 0
    """How many answers to the same question were not of use."""
    num_rejected: int = 0
    """Answers of those that the space allows and something else forbids."""
    may_start: Callable[[Mapping[str, Any]], bool] = lambda _: True
    """Tells values that may be started."""

    def seed(self, of_search: int) -> int:
        """Return the seed of the answer, of a search with this seed."""
        return int(np.random.SeedSequence([of_search, self.number, self.redraw]).generate_state(1)[0])


class HistorySampler(BaseSampler):
    """A sampler whose proposals are a function of its seed, the trials so far and the number of the new one.

    It keeps no state between two proposals: a study that is loaded again, or whose trials were added to a new one, goes
    on as it would have. In a study of Optuna it proposes the parameters that all trials so far have in common; others,
    and those of the first trial, are drawn at random. A search of a space file asks it with `propose`, which knows
    conditions between parameters too.
    """

    _knows_several_objectives = False

    def __init__(self, seed: int | None = None) -> None:
        """Make a sampler.

        Args:
            seed: Of all proposals; absent, another one every time.
        """
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed

    @abc.abstractmethod
    def propose(self, question: Question) -> dict[str, Any] | None:
        """Return the values of a trial by path, inactive ones left out; None where the sampler has none."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that all completed and stopped trials share and that have more than one value."""
        shared = intersection_search_space(study.get_trials(deepcopy=False), include_pruned=True)
        return {name: distribution for name, distribution in shared.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a proposal, which may be empty; its parameters are then drawn at random."""
        self._refuse(study)
        if not search_space:
            return {}
        history = history_of(study, search_space, trial.number)
        return self.propose(Question(FlatSpace.of(search_space), history, trial.number)) or {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value at random."""
        self._refuse(study)
        words = [self.seed, trial.number, zlib.crc32(param_name.encode())]
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        return RandomSampler(seed=seed).sample_independent(study, trial, param_name, param_distribution)

    def _refuse(self, study: Study) -> None:
        if not self._knows_several_objectives:
            self._raise_error_if_multi_objective(study)
