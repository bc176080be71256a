"""Who looks on while a search runs: the terminal, and what writes for other tools. None of them changes the search."""

import logging
from collections.abc import Callable, Sequence

from raysearch.errors import InputError
from raysearch.history.history import History, TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.observers.progress import Leader
from raysearch.observers.trial_lines import ending_line
from raysearch.schedulers import first_rung
from raysearch.space.spec import SearchSpec

Say = Callable[[str], None]

_log = logging.getLogger("raysearch")


class Observer:
    """Is told of a search; what a resumed one did before stands in the history that it begins with."""

    name: str
    """What it is called in a message."""

    def begin(self, spec: SearchSpec, history: History, run_dir: RunDir) -> None:
        """A search begins, or goes on; `history` grows with it."""

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Called several times a second, with the trials that the journal has a new line on since the last call."""

    def rest(self) -> None:
        """No trial runs any more; tables, report and a confirmation may follow."""

    def end(self) -> None:
        """The run is over, however it ended."""


class Lines(Observer):
    """Says a line for every trial that ends, and one when the first rung is found."""

    name = "the output"

    def __init__(self, say: Say) -> None:
        self._say = say

    def begin(self, spec: SearchSpec, history: History, run_dir: RunDir) -> None:
        """Trials that have ended were told of when they did."""
        self._spec, self._history = spec, history
        self._leader = Leader(history)
        self._told = {trial.number for trial in history.trials if trial.status != "running"}
        self._first_rung = first_rung(spec, history)

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Say what has ended."""
        self._leader.take(changed)
        for trial in changed:
            if trial.status != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                metric = self._spec.objectives[0].metric
                self.tell_ending(ending_line(trial, self._history, metric, is_best=self._leader.number == trial.number))
        if changed and self._first_rung is None:
            self._find_first_rung()

    def tell_ending(self, line: str) -> None:
        """Say how a trial ended."""
        self._say(line)

    def _find_first_rung(self) -> None:
        """Say where the first rung lies, once the pilots have shown it."""
        spec = self._spec
        self._first_rung = first_rung(spec, self._history)
        if self._first_rung is None:
            return
        pilots = f"the order of {spec.scheduler.pilot_trials} full trials"
        if self._first_rung == spec.max_iters:
            self._say(f"no rungs: {pilots} was not clear before iteration {spec.max_iters}; no trial will be stopped")
        else:
            self._say(f"first rung: iteration {self._first_rung}, from which on {pilots} was largely the final one")


class Observers(Observer):
    """Several observers as one. One that fails is left out from then on, and the search goes on without it."""

    name = "the observers"

    def __init__(self, observers: Sequence[Observer], say: Say) -> None:
        self._observers = list(observers)
        self._say = say

    def begin(self, spec: SearchSpec, history: History, run_dir: RunDir) -> None:
        """Tell all of them, in order.

        Raises:
            InputError: one of them cannot do what the space file asks of it.
        """
        self._tell(lambda observer: observer.begin(spec, history, run_dir))

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Tell all of them, in order."""
        self._tell(lambda observer: observer.update(changed))

    def rest(self) -> None:
        """Tell all of them, in order."""
        self._tell(lambda observer: observer.rest())

    def end(self) -> None:
        """Tell all of them, the first one last: it may be what the others speak through."""
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
                self._say(f"note: {observer.name} failed ({error}); the search goes on without it")
