"""Creates the loop and the executor of a search, runs and ends it, and returns the results.

Every run starts from the journal: a resumed search is a new loop with the same journal.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from raysearch.checks.check_tables import outlook
from raysearch.config.trust import check_trusted, named_by_space, trust
from raysearch.errors import InputError, WorkError
from raysearch.execution.chatter import logging_to
from raysearch.execution.machine_values import on_this_machine
from raysearch.execution.places import ExecutorName, Place, Where
from raysearch.execution.preflight import preflight, trainable_notices
from raysearch.execution.trial_actor import TrialContext, damage_of_checkpoint
from raysearch.history.history import TrialHistory, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import Tables
from raysearch.observers import Lines, Observer, Observers
from raysearch.observers.gauges import Gauges
from raysearch.observers.tensorboard import TensorBoard
from raysearch.observers.tracking import deliveries
from raysearch.observers.trial_lines import title
from raysearch.runs.confirm import confirm_search
from raysearch.runs.interruption import Interrupted, Interruption
from raysearch.runs.outcome import SearchResult, search_result, write_outcome
from raysearch.search.beginnings import may_share_beginning
from raysearch.search.environment import fault_of_error
from raysearch.search.loop import SearchHalted, SearchLoop
from raysearch.search.run import Run, check_unedited
from raysearch.search.search import Proposal, Search
from raysearch.search.work import Assignment
from raysearch.space.parsing import load_space_of_run
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import write_text
from trainables.plurals import counted

Say = Callable[[str], None]

_TABLES_EVERY_S = 10.0, 300.0
"""Least and largest number of seconds between two updates of the tables while a search runs."""

_TABLES_SHARE = 0.0005
"""Share of the time that these updates may take within these bounds; the driver is idle most of the time."""


def run(
    spec: SearchSpec,
    out: Path | None = None,
    *,
    address: str | None = None,
    executor: ExecutorName = "ray",
    say: Say = print,
    show: Observer | None = None,
) -> SearchResult:
    """Search from the beginning, and confirm the best configs if the space file says so.

    Args:
        spec: The checked space file.
        out: Folder of the run; None: `runs/NAME-TIMESTAMP`.
        address: Address of a Ray cluster; None starts a local Ray.
        executor: `local` trains in this process without Ray, one trial at a time.
        say: Function that receives messages, one line each.
        show: Observer that shows the progress; None prints a line with `say` for each trial that ends.

    Raises:
        InputError: the dataset, the resources, the address or the folder have faults; nothing was started.
        WorkError: the environment would fail every trial, as with a full disk, or a confirming training failed;
            `resume` continues.
    """
    spec, chosen = on_this_machine(spec)
    for notice in (*chosen, *preflight(spec)):
        say(f"note: {notice}")
    for line in outlook(spec):
        say(line)
    where = Where(executor, address)
    with where.open(spec.resources) as place:
        _remember_code(spec, say)
        run_dir = RunDir.create(spec.name, out)
        write_text(run_dir.space, spec.to_yaml())
        with Journal(run_dir.journal) as journal:
            return _search(Search(spec, journal), run_dir, place, where, say=say, show=show)


def resume(
    folder: Path,
    *,
    add_trials: int = 0,
    retry_failed: bool = False,
    address: str | None = None,
    executor: ExecutorName = "ray",
    say: Say = print,
    show: Observer | None = None,
) -> SearchResult:
    """Resume an interrupted search, extend a finished one, or run failed trials again; see `run`.

    The requirements of the trials are checked first, as before a search. The sources of a warm start are already in the
    journal.

    Raises:
        InputError: the folder holds no run, another process is running it, or the dataset, the weights or the resources
            have faults; nothing was written.
    """
    run_dir = RunDir.open(folder)
    spec = load_space_of_run(run_dir.space)
    check_trusted(named_by_space(spec.document), run_dir.root, run_dir.root)  # its tracker too, which now gets data
    where = Where(executor, address)
    with Journal(run_dir.journal) as journal:
        history = read_history(run_dir.journal)
        check_unedited(run_dir, history)
        retry_failed = retry_failed and any(trial.number not in history.to_retry for trial in history.failed)
        if history.is_finished and not add_trials and not retry_failed:
            say(f"{run_dir.root}: the search has finished; `--add-trials N` extends it")
            return _search(Search(spec, journal), run_dir, None, where, say=say, show=show)
        trainable_notices(spec)
        with where.open(spec.resources) as place:
            search = Search(spec, journal)
            _say_damaged(search, run_dir, say)
            if add_trials:
                search.extend(add_trials)
            if retry_failed:
                say(f"running again as new trials: {', '.join(map(str, search.retry_failed()))}")
            return _search(search, run_dir, place, where, say=say, show=show)


def _say_damaged(search: Search, run_dir: RunDir, say: Say) -> None:
    """Say from which checkpoints interrupted trials cannot continue; their workers take older ones, or begin again."""
    for trial in search.running:
        last = trial.last
        if last is None or last.checkpoint is None or trial.is_paused:
            continue
        what = damage_of_checkpoint(run_dir.trial(trial.number) / last.checkpoint)
        if what is not None:
            say(f"note: trial {trial.number}: {last.checkpoint} {what}; it continues from an older state")


def _remember_code(spec: SearchSpec, say: Say) -> None:
    """Note what the user has run, so that later commands may use it where only the run folder names it."""
    try:
        trust(named_by_space(spec.document), Path.cwd())
    except InputError as error:
        say(f"note: commands on this run will not trust its code: {error}")


def _search(
    search: Search, run_dir: RunDir, place: Place | None, where: Where, *, say: Say, show: Observer | None
) -> SearchResult:
    """Run the rest of a search, and write its results."""
    run = Run(run_dir, search.spec, search.history)
    try:
        with Interruption() as interruption:
            _tidy(search, run_dir)
            with _observed(search, run, show or Lines(say), say) as observers:
                if place is not None:
                    with logging_to(run_dir.log):
                        say(f"run folder: {run_dir.root}")
                        say(place.where)
                        if place.notice is not None:
                            say(f"note: {place.notice}")
                        _train(search, run_dir, place, interruption, observers, say)
                    place.close()
                missing = search.history.target_trials - len(search.history.trials)
                if search.finished and missing > 0:
                    say(
                        f"ended {counted(missing, 'trial')} early: found no more values that are new, "
                        "meet every constraint and are predicted to fit into memory"
                    )
                write_outcome(run)
                _tidy(search, run_dir)
                done = search.finished and _confirm(run, where, interruption, observers, say)
                return search_result(run, None if done else interruption.signal)
    except SearchHalted as halted:
        halt = halted.halted
    except OSError as error:
        fault = fault_of_error(error, (run_dir.root,))
        if fault is None:
            raise
        halt = fault
    how = f"continue with `raysearch resume {shlex.quote(str(run_dir.root))}`"
    if any(trial.number not in search.history.to_retry for trial in search.history.failed):
        how += "; `--retry-failed` runs the trials that failed again"
    raise WorkError(f"{halt.what}; nothing reported so far is lost; {halt.fix}, then {how}")


@contextmanager
def _observed(search: Search, run: Run, show: Observer, say: Say) -> Iterator[Observers]:
    """Provide all observers, from before the first trial until all results are written."""
    observers = Observers([show, TensorBoard(), Gauges(), *deliveries(run.spec, run.dir, say)], say)
    try:
        observers.begin(run)
        search.take_changed()
        yield observers
    finally:
        observers.end()


def _train(
    search: Search, run_dir: RunDir, place: Place, interruption: Interruption, observers: Observers, say: Say
) -> None:
    """Run the loop of the search on an executor of the place."""
    context = TrialContext.of(search.spec, share=place.share)
    loop = SearchLoop(search, _Assignments(search, run_dir), _Watch(search, run_dir, interruption, observers))
    try:
        try:
            place.executor(context, run_dir.tune, interruption.raised).run(loop)
        finally:
            observers.update(search.take_changed())
            observers.rest()
    except Interrupted:
        say("interrupted; everything is saved")


class _Assignments:
    """A converter of proposals to assignments in the folder of the run."""

    def __init__(self, search: Search, run_dir: RunDir) -> None:
        self._spec, self._run_dir = search.spec, run_dir
        first_points = (point.values for point in search.history.first_points)
        self._given = [search.spec.default_values(), *first_points]
        """Searched values of trials that no algorithm proposes."""

    def __call__(self, proposal: Proposal) -> Assignment:
        trial = proposal.trial
        can_share = may_share_beginning(self._spec, trial.values, self._given)
        return Assignment(
            number=trial.number,
            title=title(trial),
            config=proposal.config,
            folder=self._run_dir.trial(trial.number),
            shared_folder=self._run_dir.shared if can_share else None,
            reports=proposal.restorable,
        )


class _Watch:
    """A watcher that notifies the observers, updates the tables, and stops the search if it is interrupted."""

    def __init__(self, search: Search, run_dir: RunDir, interruption: Interruption, observers: Observers) -> None:
        self._search = search
        self._run_dir = run_dir
        self._interruption = interruption
        self._observers = observers
        self._tables = Tables(search.history)
        self._is_written = True
        self._tables_due = time.monotonic() + _TABLES_EVERY_S[0]

    def __call__(self, changed: Sequence[TrialHistory]) -> None:
        for trial in changed:
            _tidy_trial(trial, self._search, self._run_dir)
        self._observers.update(changed)
        self._is_written &= not changed
        if not self._is_written and time.monotonic() > self._tables_due:
            self._write_tables()
        self._interruption.check()

    def _write_tables(self) -> None:
        begun = time.process_time()
        self._tables.write(self._run_dir)
        least, most = _TABLES_EVERY_S
        pause = min(max(least, (time.process_time() - begun) / _TABLES_SHARE), most)
        self._is_written, self._tables_due = True, time.monotonic() + pause


def _confirm(run: Run, where: Where, interruption: Interruption, observers: Observers, say: Say) -> bool:
    """Confirm a finished search if its space file says so; return False if that was interrupted."""
    settings, history = run.spec.search.confirm, run.history
    if settings is None or history.best_trial() is None:
        return True
    of_default = " and the default config" if any(trial.is_default for trial in history.trials) else ""
    best = "trial" if settings.top == 1 else counted(settings.top, "trial")
    say(f"confirming the best {best}{of_default}, {counted(settings.seeds, 'new seed')} each")
    try:
        interruption.check()
        confirm_search(run, settings, where, interruption, observers, say=say)
    except Interrupted:
        return False
    except WorkError as error:
        raise WorkError(
            f"{error}; the search has finished; continue with `raysearch resume {shlex.quote(str(run.dir.root))}`"
        ) from None
    return True


def _tidy(search: Search, run_dir: RunDir) -> None:
    """Delete all checkpoints that are no longer needed."""
    for trial in search.history.trials:
        _tidy_trial(trial, search, run_dir)
    if search.finished:
        run_dir.drop_shared()


def _tidy_trial(trial: TrialHistory, search: Search, run_dir: RunDir) -> None:
    """Delete all checkpoints of an ended trial except the best one."""
    if trial.status != "running":
        best = trial.best(search.history.mode)
        run_dir.keep_only(trial.number, best.checkpoint if best else None)
