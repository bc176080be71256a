"""State of the running trials and of the search, as gauges that Ray exports to Prometheus.

Only running trials have series of their own. Ray drops a gauge that is not set again within two of its reports, and
those of ended trials are not set again. A scrape thus has as many series as there are running trials, however long the
search is.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from raysearch.history.history import TrialHistory
from raysearch.observers import Observer
from raysearch.observers.progress import Progress, ProgressCount
from raysearch.search.run import Run

_SET_EVERY_S = 1.0

TRIAL_GAUGES: Mapping[str, str] = {
    "raysearch_trial_objective": "The objective at the last report of a running trial",
    "raysearch_trial_iteration": "The iteration of the last report of a running trial",
    "raysearch_trial_images_per_second": "Training images per second of a running trial",
    "raysearch_trial_peak_memory_bytes": "Peak memory of a running trial so far",
}
"""Name -> description. Each gauge has the labels `search` and `trial`."""

SEARCH_GAUGES: Mapping[str, str] = {
    "raysearch_trials": "Trials by status",
    "raysearch_best_objective": "The best value of the objective so far",
    "raysearch_default_objective": "The best value of the default config so far",
}
"""Name -> description. Each gauge has the label `search`; the first also has `status`."""


class Gauges(Observer):
    """An observer that sets the gauges while a search runs. Ray must run by the first update."""

    name = "the export of metrics"

    def begin(self, run: Run) -> None:
        """Count the trials in the history."""
        self._name, self._history = run.spec.name, run.history
        self._count = ProgressCount(run.spec, run.history)
        self._gauges: dict[str, Any] = {}
        self._set = 0.0

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Set all gauges once a second, whether they have changed or not."""
        self._count.take(changed)
        now = time.monotonic()
        if now - self._set < _SET_EVERY_S:
            return
        self._set = now
        progress = self._count.progress()
        for trial in progress.running:
            labels = {"trial": str(trial.number)}
            numbers = (
                trial.value,
                trial.iteration,
                trial.images_per_second,
                self._history.trials[trial.number].peak_memory_bytes,
            )
            for name, number in zip(TRIAL_GAUGES, numbers, strict=True):
                self._gauge(name, TRIAL_GAUGES[name], number, labels)
        for status, count in _counts(progress).items():
            self._gauge("raysearch_trials", SEARCH_GAUGES["raysearch_trials"], count, {"status": status})
        best = None if progress.best_report is None else progress.best_report.value
        for name, number in (
            ("raysearch_best_objective", best),
            ("raysearch_default_objective", progress.default_value),
        ):
            self._gauge(name, SEARCH_GAUGES[name], number, {})

    def _gauge(self, name: str, description: str, number: float | None, labels: Mapping[str, str]) -> None:
        from ray.util.metrics import Gauge

        if number is None:
            return
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, description=description, tag_keys=("search", *labels))
        self._gauges[name].set(float(number), tags={"search": self._name, **labels})


def _counts(progress: Progress) -> dict[str, int]:
    waiting = max(0, progress.target_trials - progress.started)
    ended = {status: progress.ended.get(status, 0) for status in ("completed", "stopped", "infeasible", "failed")}
    return {"running": len(progress.running), "paused": progress.paused, "waiting": waiting, **ended}
