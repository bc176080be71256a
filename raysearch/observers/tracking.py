"""Experiment trackers such as MLflow: each trial is a run there, delivered while the search runs.

A separate thread delivers, so that a slow or unreachable tracker never delays the search. It reads what to deliver from
the history, and the tracker remembers what has arrived. Therefore nothing is lost or sent twice if either of them is
interrupted: a resumed search delivers what is missing.
"""

import logging
import shlex
import threading
from collections.abc import Sequence

from raysearch.history.history import TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.observers import Observer, Say
from raysearch.observers.mlflow_tracker import MlflowTracker
from raysearch.observers.scalars import ReportScalars
from raysearch.observers.tracker import Arrived, Point, Tracker
from raysearch.observers.wandb_tracker import WandbTracker
from raysearch.search.run import Run
from raysearch.space.spec import SearchSpec
from trainables.plurals import counted

_MAX_WAIT_S = 30.0
"""Time that the end of a run waits for undelivered trials."""
_RETRY_S = (1.0, 60.0)
"""Seconds between two attempts to reach a failing tracker: the first and the longest pause."""
_LAST_TRIES = 20
"""Maximum number of further attempts at the end of a run, as far as the wait allows."""

_log = logging.getLogger("raysearch")


class Delivery(Observer):
    """An observer that delivers a search to one tracker."""

    def __init__(self, tracker: Tracker, say: Say) -> None:
        self.name = f"the upload to {tracker.name}"
        self._tracker, self._say = tracker, say
        self._news = threading.Condition()
        self._changed: dict[int, TrialHistory] = {}
        """Trials whose current state has not been delivered."""
        self._is_last, self._is_done = False, False
        self._error: str | None = None
        self._is_told = False
        self._thread: threading.Thread | None = None

    def begin(self, run: Run) -> None:
        """Start the thread; it first delivers what the tracker lacks of the history."""
        self._history, self._run_dir = run.history, run.dir
        self._scalars = ReportScalars(run.spec)
        self._changed = {trial.number: trial for trial in run.history.trials}
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Pass the trials that have changed to the thread."""
        if changed:
            with self._news:
                self._changed.update((trial.number, trial) for trial in changed)
                self._news.notify()
        if self._error is not None and not self._is_told:
            self._is_told = True
            self._say(
                f"note: {self._tracker.name}: {self._error}; the search continues, and missing data are uploaded later"
            )

    def end(self) -> None:
        """Wait for a limited time until everything is delivered, and report what is missing."""
        if self._thread is None:
            return
        with self._news:
            self._is_last = True
            self._news.notify()
        self._thread.join(_MAX_WAIT_S)
        if not self._is_done:
            with self._news:
                missing = len(self._changed)
            why = f" ({self._error})" if self._error else ""
            trials = counted(len(self._history.trials), "trial")
            what = f"{missing} of {trials} {'is' if missing == 1 else 'are'} not completely uploaded"
            fix = f"`raysearch resume {shlex.quote(str(self._run_dir.root))}` uploads the rest"
            self._say(f"note: {self._tracker.name}: {what}{why}; {fix}")

    def _run(self) -> None:
        pause, longest = _RETRY_S
        arrived: dict[int, Arrived] | None = None
        last_tries = 0
        while not self._is_done:
            is_last_try = self._is_last
            try:
                if arrived is None:
                    arrived = dict(self._tracker.connect())
                self._deliver(arrived)
                pause, _ = _RETRY_S
            except Exception as error:
                if self._error is None:
                    _log.exception("%s failed and is tried again until it succeeds", self.name)
                self._error = str(error).strip().partition("\n")[0] or type(error).__name__
                last_tries += is_last_try
                if last_tries > _LAST_TRIES:
                    return
                arrived = None  # the tracker knows best what has arrived
                with self._news:
                    self._changed = {trial.number: trial for trial in list(self._history.trials)}
                    if is_last_try:
                        self._news.wait(pause)
                    else:
                        self._news.wait_for(lambda: self._is_last, timeout=pause)
                pause = min(2 * pause, longest)

    def _deliver(self, arrived: dict[int, Arrived]) -> None:
        """Wait for news and deliver it; finish when no more will come."""
        with self._news:
            self._news.wait_for(lambda: self._changed or self._is_last)
            batch, is_last = dict(self._changed), self._is_last
        for number, trial in batch.items():
            with self._news:
                self._changed.pop(number, None)  # before it is read, so that later changes count as news
            self._deliver_trial(trial, arrived)
            self._error = None
        if batch or not is_last:
            return
        best = self._history.best_trial()
        report = None if best is None else best.best(self._history.mode)
        best_config = self._run_dir.best_config
        self._tracker.finish(
            best_config if best_config.is_file() else None,
            None if report is None else report.value,
            is_over=all(trial.status != "running" for trial in self._history.trials),
        )
        self._is_done = True

    def _deliver_trial(self, trial: TrialHistory, arrived: dict[int, Arrived]) -> None:
        before = arrived.get(trial.number, Arrived())
        if before.has_ended:
            return
        is_over = trial.status != "running"  # before the reports are read: no more can follow then
        points = [point for point in self._points(trial) if point.iteration > before.iteration]
        self._tracker.deliver(trial, points, is_over=is_over)
        last = points[-1].iteration if points else before.iteration
        arrived[trial.number] = Arrived(last, is_over)

    def _points(self, trial: TrialHistory) -> list[Point]:
        reports = tuple(trial.reports.items())  # a copy, because the search adds reports meanwhile
        points, now = [], trial.started
        for iteration, report in sorted(reports, key=lambda one: one[0]):
            now += report.seconds
            points.append(Point(iteration, now, self._scalars.of(report)))
        return points


def deliveries(spec: SearchSpec, run_dir: RunDir, say: Say) -> list[Delivery]:
    """Create a delivery for each tracker that the space file names.

    Raises:
        InputError: a tracker lacks something that it needs.
    """
    trackers: list[Tracker] = []
    if spec.track.mlflow is not None:
        trackers.append(MlflowTracker(spec.track.mlflow, spec, run_dir))
    if spec.track.wandb is not None:
        trackers.append(WandbTracker(spec.track.wandb, spec, run_dir))
    return [Delivery(tracker, say) for tracker in trackers]
