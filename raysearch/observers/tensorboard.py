"""TensorBoard files: one folder per trial, with a curve for each reported number, and the searched values.

A trial's file depends only on its lines in the journal. The file of a running trial is marked as open. When a search
resumes after a kill, marked and missing files are written anew from the journal, so that no curve has a point twice.
"""

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raysearch.history.events import Report
from raysearch.history.history import TrialHistory
from raysearch.observers import Observer
from raysearch.observers.scalars import ReportScalars, describe
from raysearch.search.run import Run

_FLUSH_EVERY_S = 5.0

_OPEN = ".open"
"""Name of the empty file that marks a folder whose trial is not known to have ended."""


class TensorBoard(Observer):
    """An observer that writes the files; only those of running trials are open."""

    name = "the writer of TensorBoard's files"

    def begin(self, run: Run) -> None:
        """Update the folder to the state of the history."""
        self._root = run.dir.tensorboard
        self._scalars, self._metric = ReportScalars(run.spec), run.spec.objectives[0].metric
        self._files: dict[int, _EventFile] = {}
        self._flushed = time.monotonic()
        for trial in run.history.trials:
            if trial.status == "running" or not self._is_whole(trial.number):
                self._take(trial)

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Append new reports."""
        for trial in changed:
            self._take(trial)
        if time.monotonic() - self._flushed > _FLUSH_EVERY_S:
            for file in self._files.values():
                file.flush()
            self._flushed = time.monotonic()

    def rest(self) -> None:
        """Close all files; those of trials that still run stay marked as open."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _folder(self, number: int) -> Path:
        return self._root / f"trial-{number:05d}"

    def _is_whole(self, number: int) -> bool:
        folder = self._folder(number)
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return bool(names) and _OPEN not in names

    def _take(self, trial: TrialHistory) -> None:
        file = self._files.get(trial.number)
        if file is None or not file.is_beginning_of(trial):
            file = self._files[trial.number] = self._fresh(trial)
        file.append(trial)
        if trial.status != "running":
            file.end(trial)
        elif trial.is_paused:
            file.close()  # there may be many paused trials
        else:
            return
        del self._files[trial.number]

    def _fresh(self, trial: TrialHistory) -> "_EventFile":
        """Return an empty file that replaces what a kill, or a worker that started again, has left behind."""
        before = self._files.pop(trial.number, None)
        if before is not None:
            before.close()
        folder = self._folder(trial.number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return _EventFile(folder, trial, self._scalars, self._metric)


class _EventFile:
    """The event file of one trial. Its times are those of the journal."""

    def __init__(self, folder: Path, trial: TrialHistory, scalars: ReportScalars, metric: str) -> None:
        with _without_torch():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.summary import hparams

        self._mark = folder / _OPEN
        self._mark.touch()
        self._writer = EventsWriter(str(folder / "events"))
        self._scalars = scalars
        self._written: dict[int, Report] = {}
        self._now = trial.started
        values = {path: describe(value) for path, value in trial.values.items()}
        experiment, session_start, self._session_end = hparams(values, {metric: None})
        self._write(experiment)
        self._write(session_start)

    def is_beginning_of(self, trial: TrialHistory) -> bool:
        """Return True if all written reports still belong to the trial; a worker that starts again replaces them."""
        return all(trial.reports.get(iteration) is report for iteration, report in self._written.items())

    def append(self, trial: TrialHistory) -> None:
        """Write the reports that have not been written yet."""
        for iteration in sorted(trial.reports.keys() - self._written.keys()):
            report = self._written[iteration] = trial.reports[iteration]
            self._now += report.seconds
            self._write(_summary(self._scalars.of(report).items()), iteration)

    def end(self, trial: TrialHistory) -> None:
        """Complete the file of a trial that has ended."""
        if trial.status in ("completed", "stopped"):
            self._write(self._session_end)
        self.close()
        self._mark.unlink()

    def flush(self) -> None:
        """Make the written events visible to readers."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()

    def _write(self, summary: Any, step: int = 0) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=self._now, step=step, summary=summary))


@contextmanager
def _without_torch() -> Iterator[None]:
    """Let tensorboardX do without PyTorch, which takes seconds to import and is in its annotations only."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it then fails
    try:
        yield
    finally:
        del sys.modules["torch"]


def _summary(numbers: Iterable[tuple[str, float]]) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=number) for name, number in numbers])
