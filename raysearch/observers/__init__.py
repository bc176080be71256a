"""Observers of a running search: the terminal view, and writers for other tools. None of them changes the search."""

import logging
import math
from collections.abc import Callable, Sequence

from raysearch.errors import InputError
from raysearch.history.history import TrialHistory
from raysearch.observers.progress import Leader
from raysearch.observers.trial_lines import ending_line
from raysearch.schedulers import stops_from
from raysearch.search.run import Run
from trainables.plurals import counted

Say = Callable[[str], None]

_log = logging.getLogger("raysearch")


class Observer:
    """A listener that is notified of the events of a search.

    If the search is resumed, the history of the run passed to `begin` contains everything so far.
    """

    name: str
    """Name of the observer in messages."""

    def begin(self, run: Run) -> None:
        """Prepare for a search that starts or resumes; its history is updated while it runs."""

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Handle the trials that have new lines in the journal since the last call; called several times a second."""

    def rest(self) -> None:
        """Handle the end of the last trial; tables, report and a confirmation may follow."""

    def begin_confirmation(self, run: Run) -> None:
        """Handle the start of a confirmation; its history has each training as a trial, and is updated meanwhile."""

    def update_confirmation(self, changed: Sequence[TrialHistory]) -> None:
        """Handle the trainings that have changed since the last call; called several times a second."""

    def rest_confirmation(self) -> None:
        """Handle the end of the last training."""

    def end(self) -> None:
        """Handle the end of the run, for any reason."""


class Lines(Observer):
    """An observer that prints a line for each trial that ends, and one when early stopping can begin."""

    name = "the output"

    def __init__(self, say: Say) -> None:
        self._say = say

    def begin(self, run: Run) -> None:
        """Prepare for a search; trials that have already ended were reported before."""
        self._spec, self._history = run.spec, run.history
        self._leader = Leader(run.history)
        self._told = {trial.number for trial in run.history.trials if trial.status != "running"}
        num_full = sum(self._is_full(run.history.trials[number]) for number in self._told)
        self._pilots_left = max(0, run.spec.scheduler.pilot_trials - num_full) if run.spec.scheduler.is_learned else 0
        """Number of trials that must still reach the full budget before `grace_iters: auto` stops any."""

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Print the trials that have ended."""
        self._leader.take(changed)
        for trial in changed:
            if trial.status != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                metric = self._spec.objectives[0].metric
                self.tell_ending(ending_line(trial, self._history, metric, is_best=self._leader.number == trial.number))
                if self._pilots_left and self._is_full(trial):
                    self._pilots_left -= 1
                    if self._pilots_left == 0:
                        self._tell_what_pilots_show()

    def tell_ending(self, line: str) -> None:
        """Print how a trial ended."""
        self._say(line)

    def _is_full(self, trial: TrialHistory) -> bool:
        return trial.last is not None and trial.last.iteration >= (self._spec.max_iters or math.inf)

    def _tell_what_pilots_show(self) -> None:
        """Print from where on trials may be stopped, now that the pilot trials have completed."""
        pilots = f"the scores of {counted(self._spec.scheduler.pilot_trials, 'full trial')}"
        first = stops_from(self._spec, self._history)
        if first is None:
            self._say(f"no early stopping yet: {pilots} do not predict their final order; further full trials may")
        else:
            self._say(f"early stopping begins: from iteration {first} on, {pilots} predict their final order")


class Observers(Observer):
    """Several observers as one. An observer that fails is dropped, and the search continues without it."""

    name = "the observers"

    def __init__(self, observers: Sequence[Observer], say: Say) -> None:
        self._observers = list(observers)
        self._say = say

    def begin(self, run: Run) -> None:
        """Notify all observers in order.

        Raises:
            InputError: an observer cannot do what the space file asks for.
        """
        self._tell(lambda observer: observer.begin(run))

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Notify all observers in order."""
        self._tell(lambda observer: observer.update(changed))

    def rest(self) -> None:
        """Notify all observers in order."""
        self._tell(lambda observer: observer.rest())

    def begin_confirmation(self, run: Run) -> None:
        """Notify all observers in order."""
        self._tell(lambda observer: observer.begin_confirmation(run))

    def update_confirmation(self, changed: Sequence[TrialHistory]) -> None:
        """Notify all observers in order."""
        self._tell(lambda observer: observer.update_confirmation(changed))

    def rest_confirmation(self) -> None:
        """Notify all observers in order."""
        self._tell(lambda observer: observer.rest_confirmation())

    def end(self) -> None:
        """Notify all observers in reverse order, because the others may print through the first one."""
        self._observers.reverse()
        self._tell(lambda observer: observer.end())

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for observer in tuple(self._observers):
            try:
                what(observer)
            except InputError:
                raise
            except Exception as error:
                self._observers.remove(observer)
                _log.exception("%s failed", observer.name)
                self._say(f"note: {observer.name} failed ({error}); the search continues without it")
