"""Proposals of any sampler of Optuna or of the user's own."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from raysearch.algorithms.optuna_samplers import draw, study_of
from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.errors import Fault, InputError
from raysearch.history.events import SamplerNotes
from raysearch.history.history import History


class AnySampler:
    """A sampler, created for one trial, and a study that holds all trials of the search.

    Samplers store what they need later as system attributes of the study. The study contains those of all earlier
    proposals, so the sampler continues as if it had made all proposals in one study.
    """

    def __init__(self, sampler: BaseSampler, space: SearchedSpace, history: History) -> None:
        self._space = space
        self._study = study_of(history, sampler)
        self._before = dict(self._storage.get_study_system_attrs(self._study._study_id))
        self._number = len(history.trials)
        self._last: tuple[int, dict[str, Any]] | None = None
        """Id and values of the latest proposal."""

    @property
    def _storage(self) -> optuna.storages.BaseStorage:
        return self._study._storage

    def propose(self) -> dict[str, Any]:
        """Return a proposal; every call returns another one.

        Raises:
            InputError: the sampler failed.
        """
        try:
            trial = self._study.ask()
            values = draw(self._space, trial)
        except Exception as error:  # a class of the user's own may raise anything
            message = " ".join(f"{type(error).__name__}: {error}".split())
            what = f"{self._study.sampler} failed to propose trial {self._number}: {message}"
            raise InputError([Fault("search.algorithm", what, "correct the sampler, then resume the run")]) from error
        self._last = trial._trial_id, values
        return values

    def notes(self, started: Mapping[str, Any]) -> SamplerNotes:
        """Return the system attributes that the sampler stored.

        Those of the trial are included only if the trial starts with the values of the latest proposal.
        """
        of_study = self._storage.get_study_system_attrs(self._study._study_id)
        changed = {name: value for name, value in of_study.items() if self._before.get(name) != value}
        if self._last is None or self._last[1] != started:
            return SamplerNotes(changed)
        return SamplerNotes(changed, self._storage.get_trial_system_attrs(self._last[0]))
