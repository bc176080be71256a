"""What every panel is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from raysearch.confirmation import Confirmation, winning_trial
from raysearch.importances import Importances, importances
from raysearch.journal import History, Mode, TrialHistory


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

    @property
    def mode(self) -> Mode:
        """Whether large or small values are good."""
        return self.history.mode

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Every searched path that a trial has used, by first use."""
        return tuple(dict.fromkeys(path for trial in self.history.trials for path in trial.values))

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
