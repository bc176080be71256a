"""The executor on Ray Tune: it passes assignments, results and errors between Tune and the work.

Tune has its own loop and calls this module: its `Searcher` requests assignments, its scheduler delivers events, and its
callback ticks. Nothing is decided here, and Tune's own state is never read.
"""

import pickle
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raysearch.execution.trial_actor import EVENT, TrialContext, actor_config, wrap
from raysearch.schedulers import Decision
from raysearch.search.work import Work


class TuneExecutor:
    """An executor that trains several trials at a time on the cluster that this process is connected to."""

    def __init__(self, context: TrialContext, folder: Path, concurrent: int) -> None:
        """Create an executor.

        Args:
            context: The facts that all trials share.
            folder: Folder of Tune's own files.
            concurrent: Number of trials that run at the same time.
        """
        self._context = context
        self._folder = folder
        self._concurrent = concurrent

    def run(self, work: Work) -> None:
        """Train until the work is finished."""
        tune.Tuner(
            wrap(self._context),
            tune_config=tune.TuneConfig(
                search_alg=_Suggestions(work),
                scheduler=_Events(work),
                num_samples=-1,
                max_concurrent_trials=self._concurrent,
                reuse_actors=True,
                trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
                trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:05d}-{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"),
                storage_path=str(self._folder),
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # prints nothing; the one for notebooks would clear the cell
                callbacks=[_Ticks(work)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()


class _Suggestions(Searcher):
    """The assignments of the work in the form of Tune's `Searcher`."""

    def __init__(self, work: Work) -> None:
        super().__init__(metric=None, mode=None)
        self._work = work

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the wrapper's config of the next trial; FINISHED at the end; None if trials must end first."""
        assignment = self._work.next()
        if assignment is not None:
            return actor_config(assignment)
        return Searcher.FINISHED if self._work.finished else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the scheduler receives the event first, with more details."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the work keeps its own record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the work keeps its own record."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Events(FIFOScheduler):
    """The decisions of the work in the form of a Tune scheduler; every report and every ending passes through here."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._stopped: set[str] = set()
        """Ids of Tune trials that were stopped: each is one leg of a trial of the work, which may be paused."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass a result to the work, and follow its decision."""
        if self._work.take(_number(trial), result[EVENT]) is Decision.CONTINUE:
            return str(TrialScheduler.CONTINUE)
        self._stopped.add(trial.trial_id)
        return str(TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass a last result to the work; Tune sends `done` results only here, and those of stopped trials twice."""
        if trial.trial_id not in self._stopped:
            self._work.take(_number(trial), result[EVENT])

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Report that the worker died; the wrapper reports all other errors itself."""
        if trial.trial_id in self._stopped:
            return  # the trial has ended or pauses and needs no worker
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        if isinstance(error, ray.exceptions.OutOfMemoryError) or "running low on memory" in str(error):
            what = "out of memory: the machine ran low, and Ray killed the worker"
            self._work.lost(_number(trial), what, out_of_memory=True)
        else:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._work.lost(_number(trial), lines[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Ticks(tune.Callback):
    """A callback that ticks after every step of Tune's loop."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Call `Work.tick`."""
        self._work.tick()

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _number(trial: Any) -> int:
    return int(trial.config["number"])
