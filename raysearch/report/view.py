"""Data that every panel is drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution

from raysearch.history.events import Mode
from raysearch.history.history import History, TrialHistory
from raysearch.results.confirmation import Confirmation, winning_trial
from raysearch.results.expectation import Expectation
from raysearch.results.importances import Importances, importances
from raysearch.results.predictions import Predictions


@dataclass(frozen=True)
class SearchView:
    """A search as its journal records it, with the few facts of the space file that a panel needs."""

    history: History
    metric: str
    """Name of the objective."""
    rungs: tuple[int, ...] = ()
    """Iterations at which trials may be stopped early."""
    max_iters: int | None = None
    """Full budget of a trial in iterations, if it is known."""
    best: Mapping[str, Any] | None = None
    """Content of `best_config.json`; None before the first report."""
    commands: tuple[str, ...] = ()
    """Command lines that train or evaluate the best config."""
    confirmation: Confirmation | None = None
    """Scores of the best configs with new seeds; None if none were confirmed."""
    entries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Name of each list of a report -> the names of its numbers, if the config knows them."""
    cpu: float = 1.0
    """CPUs per trial."""
    gpu: float = 0.0
    """GPUs per trial; a fraction means that trials share one."""
    predictions: Predictions | None = None
    """Pictures of the predictions of the winner and the default config; None if there are none."""
    hashes: tuple[tuple[str, str], ...] = ()
    """Each file of the run's folder and its SHA-256."""
    expected: tuple[Expectation, ...] = ()
    """Expected scores of the configs of completed trials, the best first; empty if there are too few trials."""

    @property
    def mode(self) -> Mode:
        """Direction of the objective: whether large or small values are better."""
        return self.history.mode

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """All searched paths that a trial has used, by first use."""
        return tuple(dict.fromkeys(path for trial in self.history.trials for path in trial.values))

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Path -> distribution of its values, if a trial took one from the space."""
        return {path: one for trial in reversed(self.history.trials) for path, one in trial.distributions.items()}

    @cached_property
    def paths_by_importance(self) -> tuple[str, ...]:
        """Searched paths, those with the largest shares by fANOVA first; the others follow in order of first use."""
        known = [path for path in self.importances.of("fanova") if path in self.paths]
        return (*known, *(path for path in self.paths if path not in known))

    @cached_property
    def importances(self) -> Importances:
        """Importance of each searched value for the score; the first access takes seconds."""
        return importances(self.history, self.paths)

    @cached_property
    def winner(self) -> TrialHistory | None:
        """Trial with the best config: the best confirmed one, or else the best so far."""
        return winning_trial(self.history, self.confirmation)

    @cached_property
    def default(self) -> TrialHistory | None:
        """Trial of the config as it is in the space file."""
        return next((trial for trial in self.history.trials if trial.is_default), None)

    def is_winner(self, trial: TrialHistory) -> bool:
        """Return True if a trial is the winner."""
        return trial is self.winner
