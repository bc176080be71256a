"""Builds the Ray Tuner around a search, runs it, ends it cleanly, and hands the results over.

Every run of Ray begins from the journal: a resumed search is a new Tuner over the same journal. Tune's own state is
never read.
"""

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

from ray import tune

from raysearch.checks.check_tables import outlook
from raysearch.errors import WorkError
from raysearch.execution.chatter import logging_to
from raysearch.execution.cluster import Cluster
from raysearch.execution.environment import fault_of_error
from raysearch.execution.preflight import preflight, trainable_notices
from raysearch.execution.trial_actor import TrialContext, wrap
from raysearch.execution.tune_adapters import JournalScheduler, JournalSearcher, SearchHalted
from raysearch.history import tables as records
from raysearch.history.history import TrialHistory, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.observers import Lines, Observer, Observers
from raysearch.observers.gauges import Gauges
from raysearch.observers.tensorboard import TensorBoard
from raysearch.observers.tracking import deliveries
from raysearch.observers.trial_lines import title
from raysearch.runs.confirm import confirm_search
from raysearch.runs.outcome import SearchResult, search_result, write_outcome
from raysearch.search.beginnings import may_share_beginning
from raysearch.search.search import Proposal, Search
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import write_text

Say = Callable[[str], None]

_TABLES_EVERY_S = 10.0
"""Seconds between two writings of the tables while a search runs."""


def run(
    spec: SearchSpec,
    out: Path | None = None,
    *,
    address: str | None = None,
    say: Say = print,
    show: Observer | None = None,
) -> SearchResult:
    """Search from the beginning, and confirm the best configs where the space file says so.

    Args:
        spec: The checked space file.
        out: Folder of the run; `runs/NAME-TIMESTAMP` when absent.
        address: Of a Ray cluster; a local one is started when absent.
        say: Takes one line at a time of what happens.
        show: Shows how the trials fare; a line by `say` for each that ends when absent.

    Raises:
        InputError: the dataset, the resources, the address or the folder are wrong; nothing was started.
        WorkError: the environment would fail every trial, as a full disk does, or a confirming training failed;
            `resume` goes on.
    """
    for notice in preflight(spec):
        say(f"note: {notice}")
    for line in outlook(spec):
        say(line)
    with Cluster(address, spec.resources) as cluster:
        run_dir = RunDir.create(spec.name, out)
        write_text(run_dir.space, spec.to_yaml())
        with Journal(run_dir.journal) as journal:
            return _search(Search(spec, journal), run_dir, cluster, say=say, show=show)


def resume(
    folder: Path,
    *,
    add_trials: int = 0,
    retry_failed: bool = False,
    address: str | None = None,
    say: Say = print,
    show: Observer | None = None,
) -> SearchResult:
    """Go on with a search that was interrupted, extend one that has finished, or run failed trials again; see `run`.

    What the trials need is looked at first, as before a search; what a search takes over is in its journal.

    Raises:
        InputError: the folder holds no run, another process is running it, or the dataset, the weights or the
            resources are wrong; nothing was written.
    """
    run_dir = RunDir.open(folder)
    spec = load_space(run_dir.space)
    with Journal(run_dir.journal) as journal:
        history = read_history(run_dir.journal)
        retry_failed = retry_failed and any(trial.number not in history.to_retry for trial in history.failed)
        if history.is_finished and not add_trials and not retry_failed:
            say(f"{run_dir.root}: the search has finished; `--add-trials N` extends it")
            return _search(Search(spec, journal), run_dir, None, say=say, show=show)
        trainable_notices(spec)
        with Cluster(address, spec.resources) as cluster:
            search = Search(spec, journal)
            if add_trials:
                search.extend(add_trials)
            if retry_failed:
                say(f"run again as new trials: {', '.join(map(str, search.retry_failed()))}")
            return _search(search, run_dir, cluster, say=say, show=show)


def _search(
    search: Search, run_dir: RunDir, cluster: Cluster | None, *, say: Say, show: Observer | None
) -> SearchResult:
    """Run what is left of a search, and write what it leaves behind."""
    try:
        with _Interruption() as interruption:
            _tidy(search, run_dir)
            with _observed(search, run_dir, show or Lines(say), say) as observers:
                if cluster is not None:
                    with logging_to(run_dir.log):
                        say(f"run folder: {run_dir.root}")
                        say(f"dashboard:  {cluster.dashboard}")
                        _tune(search, run_dir, cluster, interruption, observers, say)
                    cluster.close()
                missing = search.history.target_trials - len(search.history.trials)
                if search.finished and missing > 0:
                    say(
                        f"ended {missing} trials early: no further values were found that are untried, hold every "
                        "constraint and are predicted to fit into memory"
                    )
                write_outcome(search.history, search.spec, run_dir)
                _tidy(search, run_dir)
                done = search.finished and _confirm(search, run_dir, interruption, say)
                return search_result(search.history, search.spec, run_dir, None if done else interruption.signal)
    except SearchHalted as halted:
        halt = halted.halted
    except OSError as error:
        fault = fault_of_error(error, (run_dir.root,))
        if fault is None:
            raise
        halt = fault
    how = f"go on with `raysearch resume {shlex.quote(str(run_dir.root))}`"
    if any(trial.number not in search.history.to_retry for trial in search.history.failed):
        how += "; `--retry-failed` runs the trials that failed again"
    raise WorkError(f"{halt.what}; nothing reported so far is lost; {halt.fix}, then {how}")


@contextmanager
def _observed(search: Search, run_dir: RunDir, show: Observer, say: Say) -> Iterator[Observers]:
    """Everyone who looks on, from before the first trial runs until all is written."""
    observers = Observers([show, TensorBoard(), Gauges(), *deliveries(search.spec, run_dir, say)], say)
    try:
        observers.begin(search.spec, search.history, run_dir)
        search.take_changed()
        yield observers
    finally:
        observers.end()


def _tune(
    search: Search,
    run_dir: RunDir,
    cluster: Cluster,
    interruption: "_Interruption",
    observers: Observers,
    say: Say,
) -> None:
    context = TrialContext.of(search.spec, share=cluster.share)

    def start(proposal: Proposal) -> dict[str, Any]:
        spec, history = search.spec, search.history
        trial = history.trials[proposal.number]
        given = [spec.default_values(), *(point.values for point in history.first_points)]
        return {
            "number": proposal.number,
            "folder": str(run_dir.trial(proposal.number)),
            "shared_folder": str(run_dir.shared) if may_share_beginning(spec, trial.values, given) else None,
            "title": title(trial),
            "config": proposal.config,
            "reports": [list(report) for report in proposal.restorable],
        }

    tuner = tune.Tuner(
        wrap(context),
        tune_config=tune.TuneConfig(
            search_alg=JournalSearcher(search, start),
            scheduler=JournalScheduler(search),
            num_samples=-1,
            max_concurrent_trials=cluster.concurrent,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
            trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:05d}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(run_dir.tune),
            verbose=0,
            progress_reporter=tune.CLIReporter(),  # says nothing; the one for notebooks would clear the cell
            callbacks=[_Watch(search, run_dir, interruption, observers)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        try:
            tuner.fit()
        finally:
            observers.update(search.take_changed())
            observers.rest()
    except _Interrupted:
        say("interrupted; everything is saved")


def _confirm(search: Search, run_dir: RunDir, interruption: "_Interruption", say: Say) -> bool:
    """Confirm a finished search where its space file says so; returns False where that was interrupted."""
    settings, history = search.spec.search.confirm, search.history
    if settings is None or history.best_trial() is None:
        return True
    of_default = " and the default config" if any(trial.is_default for trial in history.trials) else ""
    say(f"confirming the best {settings.top}{of_default}, {settings.seeds} new seeds each")
    try:
        with interruption.raised():
            confirm_search(
                history, search.spec, run_dir, top=settings.top, seeds=settings.seeds, split=settings.split, say=say
            )
    except _Interrupted:
        return False
    except WorkError as error:
        raise WorkError(
            f"{error}; the search has finished, go on with `raysearch resume {shlex.quote(str(run_dir.root))}`"
        ) from None
    return True


class _Watch(tune.Callback):
    """Looks at the search after every event: tells the observers, refreshes the tables, stops when told to."""

    def __init__(self, search: Search, run_dir: RunDir, interruption: "_Interruption", observers: Observers) -> None:
        self._search = search
        self._run_dir = run_dir
        self._interruption = interruption
        self._observers = observers
        self._written = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        changed = self._search.take_changed()
        for trial in changed:
            _tidy_trial(trial, self._search, self._run_dir)
        self._observers.update(changed)
        now = time.monotonic()
        if now - self._written > _TABLES_EVERY_S:
            records.write_tables(self._search.history, self._run_dir)
            self._written = time.monotonic()
        if self._interruption.signal is not None:
            raise _Interrupted

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Interrupted(BaseException):
    """Leaves Tune's loop between two of its steps, past its waiting for actors, or a confirmation wherever it stands:
    all that matters is on disk.
    """


class _Interruption:
    """Remembers SIGINT and SIGTERM while a search runs; a second one ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._raises = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Within, a signal is an `_Interrupted`; so is one that has come before."""
        self._raises = True
        try:
            if self.signal is not None:
                raise _Interrupted
            yield
        finally:
            self._raises = False

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        if self._raises:
            raise _Interrupted


def _tidy(search: Search, run_dir: RunDir) -> None:
    """Delete the checkpoints that nothing reads any more."""
    for trial in search.history.trials:
        _tidy_trial(trial, search, run_dir)
    if search.finished:
        run_dir.drop_shared()


def _tidy_trial(trial: TrialHistory, search: Search, run_dir: RunDir) -> None:
    """Of an ended trial only the best checkpoint stays."""
    if trial.status != "running":
        best = trial.best(search.history.mode)
        run_dir.keep_only(trial.number, best.checkpoint if best else None)
