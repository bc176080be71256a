"""MLflow tracker: a run for the search with one child run per trial, in the experiment of the search's name.

MLflow itself knows what has arrived: each run has the iteration of its last report as a tag, which is written together
with the report.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from raysearch.history.history import TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.observers.scalars import describe
from raysearch.observers.tracker import Arrived, Point
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import write_text

if TYPE_CHECKING:
    from mlflow.entities import Metric

_TRIAL, _ITERATION, _STATUS, _ERROR = "raysearch.trial", "raysearch.iteration", "raysearch.status", "raysearch.error"
_PARENT = "mlflow.parentRunId"
_MAX_METRICS, _MAX_PARAMS = 900, 100
"""Maximum number of metrics and of params per request; MLflow accepts 1000 and 100."""
_MAX_TEXT = 5000


class MlflowTracker:
    """A tracker that delivers to one MLflow server or database."""

    name: ClassVar[str] = "mlflow"

    def __init__(self, address: str, spec: SearchSpec, run_dir: RunDir) -> None:
        """Prepare the delivery to `address`, that of a server or of a database."""
        self._address, self._spec, self._run_dir = address, spec, run_dir
        self._runs: dict[int, str] = {}
        """Trial -> id of its run."""
        self._described: set[int] = set()
        """Trials whose params have certainly arrived."""

    def connect(self) -> Mapping[int, Arrived]:
        """Find the runs of the search and of its trials, or create the run of the search."""
        # MLflow makes no retries of its own, and nothing is sent to anyone but the address given.
        for name, value in {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self._address)
        self._runs.clear()
        file = self._run_dir.mlflow
        if file.is_file():
            known = json.loads(file.read_text(encoding="utf-8"))
            self._experiment, self._parent = known["experiment"], known["run"]
            self._client.update_run(self._parent, status="RUNNING")
            return dict(self._delivered())
        found = self._client.get_experiment_by_name(self._spec.name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(self._spec.name)
        tags = {"raysearch.search.search": self._spec.name, "raysearch.folder": str(self._run_dir.root)}
        run = self._client.create_run(self._experiment, tags=tags, run_name=self._run_dir.root.name)
        self._parent = run.info.run_id
        write_text(file, json.dumps({"experiment": self._experiment, "run": self._parent}) + "\n")
        return {}

    def deliver(self, trial: TrialHistory, points: Sequence[Point], *, is_over: bool) -> None:
        """Log metrics by iteration, and the params and the end of a trial if they are new."""
        from mlflow.entities import RunTag

        if trial.number not in self._runs:
            self._runs[trial.number] = self._begin(trial)
        run = self._runs[trial.number]
        if trial.number not in self._described:
            self._describe(run, trial)
        for batch in _batches(points):
            iteration = RunTag(_ITERATION, str(batch[-1].iteration))
            metrics = [metric for point in batch for metric in _metrics(point)]
            self._client.log_batch(run, metrics=metrics, tags=[iteration], synchronous=True)
        if is_over:
            tags = [RunTag(_STATUS, trial.status)]
            if trial.error:
                tags.append(RunTag(_ERROR, trial.error[:_MAX_TEXT]))
            self._client.log_batch(run, tags=tags, synchronous=True)
            status = "FINISHED" if trial.status in ("completed", "stopped") else "FAILED"
            ended = None if trial.ended is None else int(trial.ended * 1000)
            self._client.set_terminated(run, status=status, end_time=ended)

    def finish(self, best_config: Path | None, best: float | None, *, is_over: bool) -> None:
        """Log the best value and the best config in the search's own run."""
        if best is not None:
            self._client.log_metric(self._parent, f"best_{_allowed(self._spec.objectives[0].metric)}", best)
        if best_config is not None:
            self._client.log_artifact(self._parent, str(best_config))
        if is_over:
            self._client.set_terminated(self._parent, status="FINISHED")

    def _begin(self, trial: TrialHistory) -> str:
        tags = {_PARENT: self._parent, _TRIAL: str(trial.number), _STATUS: "running", _ITERATION: "0"}
        if trial.origin:
            tags["raysearch.origin"] = trial.origin[:_MAX_TEXT]
        run = self._client.create_run(
            self._experiment, start_time=int(trial.started * 1000), tags=tags, run_name=f"trial {trial.number}"
        )
        return str(run.info.run_id)

    def _describe(self, run: str, trial: TrialHistory) -> None:
        from mlflow.entities import Param

        params = [Param(_allowed(path), str(describe(value))[:_MAX_TEXT]) for path, value in trial.values.items()]
        for start in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(run, params=params[start : start + _MAX_PARAMS], synchronous=True)
        self._described.add(trial.number)

    def _delivered(self) -> Iterator[tuple[int, Arrived]]:
        """Yield what MLflow has of each trial."""
        token = None
        while True:
            found = self._client.search_runs(
                [self._experiment], f"tags.`{_PARENT}` = '{self._parent}'", max_results=1000, page_token=token
            )
            for run in found:
                number = int(run.data.tags[_TRIAL])
                self._runs[number] = run.info.run_id
                yield number, Arrived(int(run.data.tags[_ITERATION]), run.info.status != "RUNNING")
            token = found.token
            if not token:
                return


def _batches(points: Sequence[Point]) -> Iterator[list[Point]]:
    batch: list[Point] = []
    for point in points:
        if batch and sum(len(p.numbers) for p in batch) + len(point.numbers) > _MAX_METRICS:
            yield batch
            batch = []
        batch.append(point)
    if batch:
        yield batch


def _metrics(point: Point) -> Iterator["Metric"]:
    from mlflow.entities import Metric

    for name, number in point.numbers.items():
        yield Metric(_allowed(name), number, int(point.unix_time * 1000), point.iteration)


def _allowed(name: str) -> Any:
    """Return a name without the characters that MLflow does not accept."""
    return re.sub(r"[^/\w.\- ]", "_", name)
