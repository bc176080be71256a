"""Any sampler of Optuna, or of the user's own, asked for one trial of a search."""

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
    """A sampler, made for one trial, over a study that holds every trial of the search under its own number.

    What samplers keep between two proposals they note in the study, as system attributes. The study has those of every
    proposal before, so that it is as if the sampler had made them all over one study.
    """

    def __init__(self, sampler: BaseSampler, space: SearchedSpace, history: History) -> None:
        self._space = space
        self._study = study_of(history, sampler)
        self._before = dict(self._storage.get_study_system_attrs(self._study._study_id))
        self._number = len(history.trials)
        self._last: tuple[int, dict[str, Any]] | None = None
        """Id and values of the last proposal."""

    @property
    def _storage(self) -> optuna.storages.BaseStorage:
        return self._study._storage

    def propose(self) -> dict[str, Any]:
        """Return a proposal, another one every time.

        Raises:
            InputError: the sampler failed.
        """
        try:
            trial = self._study.ask()
            values = draw(self._space, trial)
        except Exception as error:  # a class of the user's own may fail in any way
            message = " ".join(f"{type(error).__name__}: {error}".split())
            what = f"{self._study.sampler} failed to propose trial {self._number}: {message}"
            raise InputError([Fault("search.algorithm", what, "mend it, and resume the run")]) from error
        self._last = trial._trial_id, values
        return values

    def notes(self, started: Mapping[str, Any]) -> SamplerNotes:
        """Return what was noted; of the trial only where it is started with the values that were proposed last."""
        of_study = self._storage.get_study_system_attrs(self._study._study_id)
        changed = {name: value for name, value in of_study.items() if self._before.get(name) != value}
        if self._last is None or self._last[1] != started:
            return SamplerNotes(changed)
        return SamplerNotes(changed, self._storage.get_trial_system_attrs(self._last[0]))
