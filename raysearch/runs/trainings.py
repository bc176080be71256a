"""The trainings of a confirmation as work for an executor: a search whose trials are known in advance.

Each training has a folder of its own, which is its record: the config, a table of its reports, and checkpoints. After a
kill, a training continues from the newest checkpoint in its table. The search and its loop decide, halt and count dead
workers, as in any search.
"""

import json
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
from ray import tune

from raysearch.config.config_files import ORIGIN
from raysearch.config.trainable_loading import LoadedTrainable
from raysearch.errors import Fault, InputError
from raysearch.execution.standalone import config_text
from raysearch.execution.trial_actor import checkpoint_name
from raysearch.history.events import Begun, Ended, Event, Report, Started
from raysearch.history.history import History
from raysearch.history.records import Fact
from raysearch.history.tables import write_reports
from raysearch.search.candidates import Candidate
from raysearch.search.search import Proposal
from raysearch.search.work import Assignment
from raysearch.space.confirm_settings import Split
from raysearch.space.settings import SchedulerSettings
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import put_folder, write_text
from trainables.protocol import ITERATIONS_SHARED, Evaluates


@dataclass(frozen=True)
class Training:
    """The training of one trial's config with one seed."""

    number: int
    """Number of the trial."""
    seed: int
    trainable: LoadedTrainable
    config: dict[str, Any]
    """Nested config of the trial, with the seed."""
    max_iters: int
    """Full budget, in iterations."""
    folder: Path
    split: Split
    """Split on which it is scored at its end; its own reports use the validation split."""

    @property
    def name(self) -> str:
        """Name of the training in messages."""
        return f"trial {self.number}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """File of the traceback, if the training failed."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def config_file(self) -> Path:
        """File of the config, as the command `train` reads it."""
        return self.folder / "config.json"

    @property
    def table(self) -> Path:
        """Table with one row per report."""
        return self.folder / "results.parquet"

    @property
    def checkpoint(self) -> Path:
        """Folder of the last checkpoint, after the training has ended."""
        return self.folder / "checkpoint"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints while it is trained."""
        return self.folder / "checkpoints"

    @property
    def test_scores(self) -> Path:
        """File of the scores on the test split, after the scoring."""
        return self.folder / "test.json"

    @property
    def divergence(self) -> Path:
        """File with the reason why the training diverged, if it did."""
        return self.folder / "diverged.txt"

    @property
    def early_end(self) -> Path:
        """File with the reason why the training ended before its full budget, if it did."""
        return self.folder / "ended.txt"

    @property
    def has_diverged(self) -> bool:
        """True if the training diverged."""
        return self.divergence.is_file()

    @property
    def is_trained(self) -> bool:
        """True if the training has reached its full budget, or has ended before it."""
        is_over = self.has_diverged or self.early_end.is_file()
        return is_over or any(row["iteration"] >= self.max_iters for row in self.rows()[-1:])

    @property
    def is_done(self) -> bool:
        """True if the training has diverged, or is trained and scored."""
        return self.is_trained and (self.has_diverged or self.split == "val" or self.test_scores.is_file())

    def rows(self) -> list[dict[str, Any]]:
        """Return the reports so far."""
        if not self.table.is_file():
            return []
        rows: list[dict[str, Any]] = pq.read_table(self.table).to_pylist()
        return rows

    def check(self) -> None:
        """Raise an error if the folder holds the training of another config.

        Raises:
            InputError: it holds the training of another config.
        """
        if not self.config_file.is_file():
            return
        written = json.loads(self.config_file.read_text(encoding="utf-8"))
        written.pop(ORIGIN, None)
        if self.trainable.config_of(written) != self.trainable.config_of(self.config):
            raise InputError([Fault(str(self.folder), "holds the training of another config", "move it away")])

    def finish(self) -> None:
        """Delete all checkpoints except the last; a call that a kill interrupted can be repeated."""
        rows = self.rows()
        last = self.checkpoints / checkpoint_name(rows[-1]["iteration"]) if rows else None
        if last is not None and last.is_dir():
            put_folder(last, self.checkpoint)
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def row(self, metric: str) -> dict[str, Any]:
        """Return the row of a finished training in `confirmed.parquet`."""
        val_value, value, iteration = None, None, self.max_iters
        if not self.has_diverged:
            last = self.rows()[-1]
            val_value, value, iteration = last["value"], last["value"], last["iteration"]
            if self.split == "test":
                value = json.loads(self.test_scores.read_text(encoding="utf-8"))[metric]
        is_whole = all(number is not None and math.isfinite(number) for number in (value, val_value))
        return {
            "trial": self.number,
            "seed": self.seed,
            "value": value if is_whole else None,
            "iteration": iteration,
            "split": self.split,
            "val_value": val_value if is_whole else None,
        }


class Given(ABC):
    """The record of a search whose trials are trainings; it stores their events in their folders."""

    def __init__(self, trainings: Sequence[Training], spec: SearchSpec, say: Callable[[str], None]) -> None:
        """Create a record.

        Args:
            trainings: The trainings, in the order in which they start.
            spec: The search that they confirm.
            say: Function that receives messages, one line each.
        """
        self.trainings = trainings
        self.spec = _spec_of(spec, trainings)
        self.failed: dict[str, str] = {}
        """Reasons why trainings failed, by the name of the training."""
        self._metric = spec.objectives[0].metric
        self._say = say
        self._num_started = 0

    def next_candidate(self, spec: SearchSpec, history: History) -> Candidate:
        """Return the next training as a candidate whose values are its trial number and its seed."""
        training = self.trainings[len(history.trials)]
        return Candidate({"trial": training.number, "seed": training.seed}, origin=training.name)

    def write(self, event: Event, trial: int | None = None) -> tuple[Fact]:
        """Record an event in the folder of its training."""
        match event:
            case Started():
                self._start(self.trainings[self._num_started])
                self._num_started += 1
            case Report() if trial is not None:
                self._report(self.trainings[trial], event)
            case Ended() if trial is not None:
                self._end(self.trainings[trial], event)
        return (Fact(event, trial, time.time()),)

    def facts(self) -> Iterator[Fact]:
        """Yield the recorded facts."""
        yield Fact(Begun(self.spec.name, self.spec.objectives[0].mode, len(self.trainings)), None, 0.0)

    @abstractmethod
    def assignment(self, proposal: Proposal) -> Assignment:
        """Return the assignment of a training for a worker."""

    @abstractmethod
    def _start(self, training: Training) -> None:
        """Record the start of a training."""

    @abstractmethod
    def _report(self, training: Training, report: Report) -> None:
        """Record a report."""

    @abstractmethod
    def _end(self, training: Training, ended: Ended) -> None:
        """Record the end of a training."""

    def _fail(self, training: Training, ended: Ended) -> None:
        self._say(f"{training.name}: {ended.error}")
        self.failed[training.name] = f"{training.name}: {ended.error}"
        if ended.details is not None:
            training.log.parent.mkdir(parents=True, exist_ok=True)
            training.log.write_text(ended.details, encoding="utf-8")
            self.failed[training.name] += f"; see {training.log}"


class GivenTrainings(Given):
    """The record of trainings to the full budget."""

    def __init__(self, trainings: Sequence[Training], spec: SearchSpec, say: Callable[[str], None]) -> None:
        """Create a record; interrupted trainings come first."""
        super().__init__(sorted(trainings, key=lambda training: not _restorable(training)), spec, say)

    def facts(self) -> Iterator[Fact]:
        """Yield the reports of the interrupted trainings whose checkpoints exist."""
        yield from super().facts()
        for number, training in enumerate(self.trainings):
            if not (rows := _restorable(training)):
                return
            self._num_started += 1
            values = {"trial": training.number, "seed": training.seed}
            yield Fact(Started({}, {}, values, is_default=False, origin=training.name), None, 0.0)
            for row in rows:
                yield Fact(_report_of(row), number, 0.0)

    def assignment(self, proposal: Proposal) -> Assignment:
        """Return the assignment of a training."""
        training = self.trainings[proposal.number]
        return Assignment(
            number=proposal.number,
            title=training.name,
            config=training.config,
            folder=training.checkpoints,
            shared_folder=None,
            reports=proposal.restorable,
            seed=training.seed,
        )

    def _start(self, training: Training) -> None:
        for folder in (training.checkpoint, training.checkpoints):
            shutil.rmtree(folder, ignore_errors=True)
        training.table.unlink(missing_ok=True)
        training.folder.mkdir(parents=True, exist_ok=True)
        write_text(training.config_file, config_text(training.trainable, training.config))

    def _report(self, training: Training, report: Report) -> None:
        rows = [row for row in training.rows() if row["iteration"] < report.iteration]
        metrics = {name: value for name, value in report.metrics.items() if name != ITERATIONS_SHARED}
        rows.append({"trial": 0, "iteration": report.iteration, "value": report.value, **metrics})
        write_reports(rows, training.table)
        of = f"iteration {report.iteration}/{training.max_iters}"
        self._say(f"{training.name}: {of}  {self._metric} {report.value:.4f}")

    def _end(self, training: Training, ended: Ended) -> None:
        match ended.status:
            case "completed":
                if not training.is_trained:
                    write_text(training.early_end, f"the trainable ended the training before {training.max_iters}\n")
                training.finish()
            case "infeasible" if ended.needed_memory_bytes is None:
                write_text(training.divergence, str(ended.error))
                training.finish()
                self._say(f"{training.name}: {ended.error}")
            case _:
                self._fail(training, ended)


class GivenScorings(Given):
    """The record of scorings of finished trainings on the test split; an interrupted scoring is repeated."""

    def assignment(self, proposal: Proposal) -> Assignment:
        """Return the assignment of a scoring."""
        training = self.trainings[proposal.number]
        return Assignment(
            number=proposal.number,
            title=f"{training.name}: {training.split}",
            config={"config": training.config, "checkpoint": str(training.checkpoint), "split": training.split},
            folder=training.checkpoints,
            shared_folder=None,
            reports=(),
            seed=training.seed,
        )

    def _start(self, training: Training) -> None:
        """Do nothing: an interrupted scoring is repeated from the beginning."""

    def _report(self, training: Training, report: Report) -> None:
        numbers = {name: value for name, value in report.metrics.items() if isinstance(value, int | float)}
        self._write(training, {self._metric: report.value, **numbers})
        self._say(f"{training.name}: {training.split} images: {self._metric} {report.value:.4f}")

    def _end(self, training: Training, ended: Ended) -> None:
        if ended.status == "completed":
            return
        if ended.status == "infeasible" and ended.needed_memory_bytes is None:
            self._write(training, {self._metric: math.nan})
            self._say(f"{training.name}: {training.split} images: {ended.error}")
        else:
            self._fail(training, ended)

    @staticmethod
    def _write(training: Training, scores: dict[str, float]) -> None:
        write_text(training.test_scores, json.dumps(scores) + "\n")


class Scoring(tune.Trainable):
    """A trainable that scores a checkpoint in its only step."""

    target: ClassVar[LoadedTrainable]

    def setup(self, config: dict[str, Any]) -> None:
        """Store the config, the checkpoint and the split."""
        self._given = config

    def step(self) -> dict[str, Any]:
        """Score the checkpoint, and report the scores."""
        target: Any = self.target.target
        assert isinstance(target, Evaluates), "what cannot be scored is not confirmed on another split"
        config, checkpoint = self.target.config_of(self._given["config"]), Path(self._given["checkpoint"])
        scores = target.evaluate(config, checkpoint, self._given["split"], _unseen)
        return {**scores, "done": True}


def scoring(trainable: LoadedTrainable) -> type[Scoring]:
    """Return the class that scores checkpoints of a trainable."""
    return type("Scoring", (Scoring,), {"target": trainable, "__module__": Scoring.__module__})


def _spec_of(spec: SearchSpec, trainings: Sequence[Training]) -> SearchSpec:
    """Return a search that consists of these trainings."""
    return replace(
        spec,
        name=f"{spec.name}: confirmation",
        objectives=spec.objectives[:1],
        constraints=(),
        search=spec.search.model_copy(update={"trials": len(trainings), "confirm": None}),
        scheduler=SchedulerSettings(name="none"),
        max_iters=max(training.max_iters for training in trainings),
        grace_iters=None,
    )


def _restorable(training: Training) -> list[dict[str, Any]]:
    """Return the reports of a training that can continue; no reports if none of its checkpoints exists."""
    rows = training.rows()
    return rows if any((training.checkpoints / checkpoint_name(row["iteration"])).is_dir() for row in rows) else []


def _report_of(row: dict[str, Any]) -> Report:
    metrics = {name: value for name, value in row.items() if name not in ("trial", "iteration", "value")}
    iteration = row["iteration"]
    return Report(iteration, row["value"], metrics, checkpoint_name(iteration), seconds=0.0, done=False)


def _unseen(done: int, total: int) -> None:
    """Ignore the progress of a scoring, which reports only its result."""
