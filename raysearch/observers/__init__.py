"""Observers of a running search: the terminal view, and writers for other tools. None of them changes the search."""

import logging
from collections.abc import Callable, Sequence

from raysearch.errors import InputError
from raysearch.history.history import TrialHistory
from raysearch.observers.progress import Leader
from raysearch.observers.trial_lines import ending_line
from raysearch.schedulers import first_rung
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
    """An observer that prints a line for each trial that ends, and one when the first rung is found."""

    name = "the output"

    def __init__(self, say: Say) -> None:
        self._say = say

    def begin(self, run: Run) -> None:
        """Prepare for a search; trials that have already ended were reported before."""
        self._spec, self._history = run.spec, run.history
        self._leader = Leader(run.history)
        self._told = {trial.number for trial in run.history.trials if trial.status != "running"}
        self._first_rung = first_rung(run.spec, run.history)

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Print the trials that have ended."""
        self._leader.take(changed)
        for trial in changed:
            if trial.status != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                metric = self._spec.objectives[0].metric
                self.tell_ending(ending_line(trial, self._history, metric, is_best=self._leader.number == trial.number))
        if changed and self._first_rung is None:
            self._find_first_rung()

    def tell_ending(self, line: str) -> None:
        """Print how a trial ended."""
        self._say(line)

    def _find_first_rung(self) -> None:
        """Print the first rung once pilot trials have found it."""
        spec = self._spec
        self._first_rung = first_rung(spec, self._history)
        if self._first_rung is None:
            return
        pilots = f"the scores of {counted(spec.scheduler.pilot_trials, 'full trial')}"
        if self._first_rung == spec.max_iters:
            self._say(f"no rungs: {pilots} did not predict their final order early enough; no trial is stopped early")
        else:
            self._say(f"first rung: iteration {self._first_rung}, where {pilots} begin to predict their final order")


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
