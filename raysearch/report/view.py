"""What every panel is drawn from."""

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
    """A search as its journal tells it, with the few facts of the space file that a panel needs."""

    history: History
    metric: str
    """The objective's name."""
    rungs: tuple[int, ...] = ()
    """Iterations at which trials may be stopped early."""
    max_iters: int | None = None
    """The full budget of a trial, where it is known."""
    best: Mapping[str, Any] | None = None
    """The document of `best_config.json`; None before the first report."""
    commands: tuple[str, ...] = ()
    """Command lines that train the winner again."""
    confirmation: Confirmation | None = None
    """What the best configs score with new seeds; None where none was confirmed."""
    entries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Name of every list of a report -> the name of each of its numbers, where the config knows them."""
    cpu: float = 1.0
    """CPUs of one trial."""
    gpu: float = 0.0
    """GPUs of one trial; a fraction shares one."""
    predictions: Predictions | None = None
    """Pictures of what the winner and the default config predict; None where there are none."""
    hashes: tuple[tuple[str, str], ...] = ()
    """File of the run's folder and its SHA-256."""
    expected: tuple[Expectation, ...] = ()
    """What the configs of whole trials score on average, the best first; empty while too few trials tell."""

    @property
    def mode(self) -> Mode:
        """Whether large or small values are good."""
        return self.history.mode

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Every searched path that a trial has used, by first use."""
        return tuple(dict.fromkeys(path for trial in self.history.trials for path in trial.values))

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Path -> what its values are drawn from, where a trial took one from the space."""
        return {path: one for trial in reversed(self.history.trials) for path, one in trial.distributions.items()}

    @cached_property
    def paths_by_importance(self) -> tuple[str, ...]:
        """The searched paths, those with the largest shares by fANOVA first; the others follow by first use."""
        known = [path for path in self.importances.of("fanova") if path in self.paths]
        return (*known, *(path for path in self.paths if path not in known))

    @cached_property
    def importances(self) -> Importances:
        """How much every searched value decides the score; takes seconds, once."""
        return importances(self.history, self.paths)

    @cached_property
    def winner(self) -> TrialHistory | None:
        """The trial whose config is the best: the best confirmed one, else the best so far."""
        return winning_trial(self.history, self.confirmation)

    @cached_property
    def default(self) -> TrialHistory | None:
        """The trial of the config as it stands in the space file."""
        return next((trial for trial in self.history.trials if trial.is_default), None)

    def is_winner(self, trial: TrialHistory) -> bool:
        """Whether a trial is the winner."""
        return trial is self.winner
