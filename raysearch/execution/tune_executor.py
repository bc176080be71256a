"""The executor on Ray Tune: it hands Tune's suggestions, results and errors to the work, and obeys its decisions.

Tune calls, where an executor would loop: its `Searcher` asks for assignments, its scheduler brings every event, and its
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
    """Trains on the cluster that this process is connected to, several trials at a time."""

    def __init__(self, context: TrialContext, folder: Path, concurrent: int) -> None:
        """Set the executor up.

        Args:
            context: What all trials have in common.
            folder: Folder of Tune's own files.
            concurrent: Number of trials that run at once.
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
                progress_reporter=tune.CLIReporter(),  # says nothing; the one for notebooks would clear the cell
                callbacks=[_Ticks(work)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()


class _Suggestions(Searcher):
    """Tune's view of the assignments."""

    def __init__(self, work: Work) -> None:
        super().__init__(metric=None, mode=None)
        self._work = work

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return what the wrapper reads of the next trial; FINISHED at the end; None while trials must end first."""
        assignment = self._work.next()
        if assignment is not None:
            return actor_config(assignment)
        return Searcher.FINISHED if self._work.finished else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the scheduler hears of it first, and of more."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the work keeps its own record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the work keeps its own record."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Events(FIFOScheduler):
    """Tune's view of the decisions: every report and every ending passes through here."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._stopped: set[str] = set()
        """Tune's trials that were told to stop: each is one leg of a trial of the work, which may pause."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Hand a result over, and obey the decision."""
        if self._work.take(_number(trial), result[EVENT]) is Decision.CONTINUE:
            return str(TrialScheduler.CONTINUE)
        self._stopped.add(trial.trial_id)
        return str(TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Hand a last result over; Tune brings those that say `done` here only, and stopped ones once more."""
        if trial.trial_id not in self._stopped:
            self._work.take(_number(trial), result[EVENT])

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Say that the worker is gone: the wrapper reports every other trouble itself."""
        if trial.trial_id in self._stopped:
            return  # nobody needs this worker any more: the trial has ended, or pauses
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        if isinstance(error, ray.exceptions.OutOfMemoryError) or "running low on memory" in str(error):
            what = "out of memory: the machine ran low and Ray ended the worker"
            self._work.lost(_number(trial), what, out_of_memory=True)
        else:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._work.lost(_number(trial), lines[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Ticks(tune.Callback):
    """Lets the work look around after every step of Tune's loop."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tick."""
        self._work.tick()

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _number(trial: Any) -> int:
    return int(trial.config["number"])
