"""Terminal view of a running search: a block that is redrawn, and above it a line for each ended trial."""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raysearch.durations import clock, duration
from raysearch.execution.chatter import output_diverted
from raysearch.history.history import History, TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.observers import Lines
from raysearch.observers.progress import Progress, ProgressCount, RunningTrial
from raysearch.observers.trial_lines import short
from raysearch.search.estimate import Interval, estimate_search
from raysearch.search.run import Run
from raysearch.space.spec import SearchSpec
from trainables.plurals import counted

_REFRESH_EVERY_S = 0.25
_ESTIMATE_EVERY_S = 5.0
"""Minimum time between two estimates. An estimate takes a few tenths of a second, and estimates take at most a
twentieth of the time.
"""

_NARROW = 100
"""Number of columns below which the table of running trials has no room for long words."""


class _Terminal(Console):
    """A console on a terminal whose cursor stays visible, so that even a kill cannot leave the terminal without one."""

    def show_cursor(self, show: bool = True) -> bool:
        """Leave the cursor as it is."""
        return False


class Screen(Lines):
    """The command line's view of a search: lines, and on a terminal a block below them that is kept up to date.

    Meanwhile, everything that other code in this process, Ray or its workers would print goes into the run's log.
    """

    name = "the terminal view"

    def __init__(self) -> None:
        """Create a view that writes to stdout."""
        super().__init__(self.say)
        self._console = _Terminal(highlight=False)
        self._live: Live | None = None
        self._stack = ExitStack()
        self._is_diverted = False
        self._drawn = 0.0
        self._end: Interval | None = None
        """Estimated end of the search and its confirmation, in Unix time."""
        self._estimate_due = 0.0

    def say(self, line: str) -> None:
        """Write one line of any length."""
        self._console.print(escape(line), soft_wrap=True)

    def begin(self, run: Run) -> None:
        """Take over the terminal."""
        super().begin(run)
        self._begin_counting(run.spec, run.history)
        self._take_over(run.dir)

    def begin_confirmation(self, run: Run) -> None:
        """Show the block for the trainings; the confirmation itself prints the lines above it."""
        self._begin_counting(run.spec, run.history)
        self._take_over(run.dir)

    def update_confirmation(self, changed: Sequence[TrialHistory]) -> None:
        """Redraw the block a few times a second."""
        self._take(changed)

    def rest_confirmation(self) -> None:
        """Remove the block."""
        self.rest()

    def _take_over(self, run_dir: RunDir) -> None:
        """Divert all other output, and show the block on a terminal."""
        if not self._is_diverted:
            stdout = self._console.file
            self._stack.callback(setattr, self._console, "file", stdout)
            self._console.file = self._stack.enter_context(output_diverted(run_dir.log))
            self._is_diverted = True
        if self._console.file.isatty() and self._console.is_interactive:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,  # what other code prints goes to the log
                redirect_stderr=False,
            )
            self._live.start()
            self._draw(self._began)

    def _begin_counting(self, spec: SearchSpec, history: History) -> None:
        self._spec, self._history = spec, history
        self._end, self._estimate_due = None, 0.0
        self._count = ProgressCount(spec, history)
        self._began = time.time()
        self._training_since = math.inf

    def update(self, changed: Sequence[TrialHistory]) -> None:
        """Print the trials that have ended, and redraw the block a few times a second."""
        super().update(changed)
        self._take(changed)

    def _take(self, changed: Sequence[TrialHistory]) -> None:
        self._count.take(changed)
        now = time.time()
        if changed:
            self._training_since = min(self._training_since, now)
        if not 0 <= now - self._drawn < _REFRESH_EVERY_S:
            self._draw(now)

    def _draw(self, now: float) -> None:
        if self._live is None:
            return
        self._drawn = now
        with suppress(OSError):  # ask the output itself: stdin may be no terminal, and stdout leads into the log
            columns, rows = os.get_terminal_size(self._console.file.fileno())
            if columns and rows:
                self._console.size = ConsoleDimensions(columns, rows)
        size, progress = self._console.size, self._count.progress()
        left = self._left(progress, now)
        self._live.update(view(progress, now - self._began, left, size.width, size.height), refresh=True)

    def _left(self, progress: Progress, now: float) -> Interval | None:
        """Return the seconds until the search and its confirmation are over, according to the last estimate."""
        concurrent = max(1, len(progress.running))
        pace = progress.pace.seconds_per_iteration(now - self._training_since, concurrent)
        if now >= self._estimate_due and pace is not None:
            began = time.thread_time()
            estimate = estimate_search(self._spec, self._history, concurrent=concurrent)
            self._estimate_due = now + max(_ESTIMATE_EVERY_S, 20 * (time.thread_time() - began))
            if estimate is not None:
                self._end = Interval(*(now + (i + estimate.confirm_elapsed) * pace for i in estimate.elapsed))
        return None if self._end is None else Interval(*(max(0.0, end - now) for end in self._end))

    def tell_ending(self, line: str) -> None:
        """Print how a trial ended, cut at the right edge of the terminal, or in full if there is no terminal."""
        if self._live is None:
            self.say(line)
        else:
            self._console.print(escape(line), no_wrap=True, overflow="ellipsis", soft_wrap=False)

    def rest(self) -> None:
        """Remove the block."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def end(self) -> None:
        """Release the terminal."""
        self.rest()
        self._stack.close()
        self._is_diverted = False


def view(progress: Progress, elapsed_s: float, left_s: Interval | None, width: int, height: int) -> RenderableType:
    """Return the block: the state of the search, then a line for each running trial.

    Args:
        progress: The search at one moment.
        elapsed_s: Duration of this run so far, in seconds.
        left_s: Estimated remaining time, in seconds; None if unknown.
        width: Columns of the terminal.
        height: Rows of the terminal. If not all running trials fit, the last ones are only counted.
    """
    facts = list(_facts(progress, elapsed_s, left_s))
    room = max(1, height - len(facts) - 5)
    shown = progress.running[:room]
    parts: list[RenderableType] = [
        _headline(progress, width),
        *(Text(fact, no_wrap=True, overflow="ellipsis") for fact in facts),
    ]
    if shown:
        parts.append(_running_table(progress, shown, width))
    if len(shown) < len(progress.running):
        parts.append(Text(f"{len(progress.running) - len(shown)} more are running", style="dim"))
    return Group(*parts, Text())  # the cursor rests on a line of its own, where a prompt may follow


def _headline(progress: Progress, width: int) -> RenderableType:
    over = sum(progress.ended.values())
    head = Table.grid(expand=True, padding=(0, 1))
    head.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 2))
    head.add_column(ratio=1)
    head.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, progress.target_trials), completed=over)
    head.add_row(Text(progress.name, style="bold"), bar, f"{over} of {counted(progress.target_trials, 'trial')}")
    return head


def _facts(progress: Progress, elapsed_s: float, left_s: Interval | None) -> Iterator[str]:
    waiting = max(0, progress.target_trials - progress.started)
    counts = {"running": len(progress.running), "paused": progress.paused, "waiting": waiting, **progress.ended}
    yield "trials  " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    yield "best    " + _best(progress)
    if progress.rungs:
        yield (
            "rungs   " + ", ".join(f"{r.iteration}: {r.went_on} of {r.reached}" for r in progress.rungs) + " continued"
        )
    pace = [f"{clock(elapsed_s)} elapsed"]
    if left_s is not None:
        low, median, high = map(duration, left_s)
        pace.append(f"about {median} left" + (f" ({low} to {high})" if low != high else ""))
    if progress.images_per_second is not None:
        pace.append(f"{progress.images_per_second:.0f} images/s")
    yield "time    " + ", ".join(pace)


def _best(progress: Progress) -> str:
    if progress.best is None or progress.best_report is None:
        return f"no {progress.metric} yet"
    found = f"{progress.metric} {progress.best_report.value:.4f}  trial {progress.best.number}"
    if progress.default_value is None:
        return found
    if progress.best.is_default:
        return f"{found}, the default config"
    lead = progress.best_report.value - progress.default_value
    return f"{found}, default {progress.default_value:.4f} ({lead:+.4f})"


def _running_table(progress: Progress, shown: Sequence[RunningTrial], width: int) -> RenderableType:
    is_wide = width >= _NARROW
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="dim", pad_edge=False)
    table.add_column("trial", justify="right", no_wrap=True)
    if progress.max_iters is not None:
        table.add_column("", width=18 if is_wide else 8, no_wrap=True)
    table.add_column("iteration", justify="right", no_wrap=True)
    table.add_column(Text(progress.metric, overflow="ellipsis"), justify="right", no_wrap=True)
    if progress.images_per_second is not None:
        table.add_column("images/s" if is_wide else "img/s", justify="right", no_wrap=True)
    if progress.rungs:
        table.add_column("rung", justify="right", no_wrap=True)
    table.add_column("values", ratio=1, no_wrap=True, overflow="ellipsis")
    for trial in shown:
        table.add_row(*_cells(trial, progress))
    return table


def _cells(trial: RunningTrial, progress: Progress) -> Iterator[RenderableType]:
    yield str(trial.number)
    if progress.max_iters is not None:
        yield ProgressBar(total=progress.max_iters, completed=trial.iteration)
    yield f"{trial.iteration}" + (f"/{progress.max_iters}" if progress.max_iters is not None else "")
    yield "" if trial.value is None else f"{trial.value:.4f}"
    if progress.images_per_second is not None:
        yield "" if trial.images_per_second is None else f"{trial.images_per_second:.0f}"
    if progress.rungs:
        yield "" if trial.rung is None else str(trial.rung)
    yield Text("default config" if trial.is_default else values_in_short(trial.values), style="cyan")


def values_in_short(values: Mapping[str, Any]) -> str:
    """Format searched values under the last parts of their paths, or under the whole paths if those are not unique."""
    names = {path: path.rpartition(".")[2] for path in values}
    several = {name for name in names.values() if list(names.values()).count(name) > 1}
    return " ".join(
        f"{path if names[path] in several else names[path]}={short(value)}" for path, value in values.items()
    )
