"""The executor in this process: it trains one trial after another without Ray, by the code that workers run.

It is meant for debugging, tests and notebooks: a breakpoint in a trainable stops there, and no Ray has to start first.
"""

import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from tempfile import TemporaryDirectory

from ray.train._internal.storage import StorageContext

from raysearch.execution.trial_actor import EVENT, TrialActor, TrialContext, actor_config, wrap
from raysearch.history.events import Ended, Halted, Report
from raysearch.schedulers import Decision
from raysearch.search.work import Assignment, Work


class LocalStorage(StorageContext):
    """The storage of a trial without Ray, where Tune would ask a Ray session for a folder."""

    def _get_session_path(self) -> str:
        return str(self.storage_fs_path)


class LocalExecutor:
    """An executor that trains in this process, one trial at a time."""

    def __init__(
        self, context: TrialContext, training: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Create an executor.

        Args:
            context: The facts that all trials share.
            training: Function that returns a context manager. It is entered while a trainable runs, and lets a signal
                interrupt a long step.
        """
        self._class = wrap(context)
        self._cpu = context.cpu
        self._training = training
        self._actor: TrialActor | None = None
        """Actor that all trials reuse, as on a worker."""

    def run(self, work: Work) -> None:
        """Train until the work has nothing more to start."""
        with TemporaryDirectory() as folder, _as_on_a_worker(self._cpu):
            try:
                while (assignment := work.next()) is not None:
                    self._train(assignment, work, LocalStorage(folder, "local", trial_dir_name="trial"))
            finally:
                self._end_actor()
                gc.unfreeze()  # the actor froze the objects in this process

    def _end_actor(self) -> None:
        """End the actor, so that a trainable of the next one can be created in this process."""
        actor, self._actor = self._actor, None
        if actor is not None:
            actor.cleanup()

    def _train(self, assignment: Assignment, work: Work, storage: LocalStorage) -> None:
        """Train a trial until it ends, pauses or loses its worker."""
        events = self._events(assignment, storage)
        decision = Decision.CONTINUE
        while decision is Decision.CONTINUE:
            try:
                event = next(events, None)
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                self._end_actor()  # the worker counts as dead, and the next trial gets a new one
                lines = str(error).strip().splitlines() or [type(error).__name__]
                work.lost(assignment.number, lines[-1])
                event = None
            if event is not None:
                decision = work.take(assignment.number, event)
            work.tick()
            if event is None:
                return

    def _events(self, assignment: Assignment, storage: LocalStorage) -> Iterator[Report | Ended | Halted]:
        """Yield the events of a trial until it is over."""
        given = actor_config(assignment)
        with self._training():
            if self._actor is None:
                self._actor = self._class(config=given, storage=storage)
            else:
                self._actor.reset_config(given)
        is_over = False
        while not is_over:
            with self._training():
                result = self._actor.step()
            is_over = result["done"]
            yield result[EVENT]


@contextmanager
def _as_on_a_worker(cpu: float) -> Iterator[None]:
    """Give trials as many threads as on Ray, and undo their changes to this process."""
    environ, folder = dict(os.environ), os.getcwd()
    torch = sys.modules.get("torch")
    num_threads = None if torch is None else torch.get_num_threads()
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(cpu)))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
        if torch is not None:
            torch.set_num_threads(num_threads)
