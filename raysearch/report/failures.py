"""Panel: how trials ended, and what went wrong."""

from dataclasses import dataclass

from raysearch.history.events import Status
from raysearch.report.parts import STATUS_COLORS, Part, Table, Text
from raysearch.report.view import SearchView
from trainables.plurals import counted

MAX_ERRORS = 20
"""Maximum number of different errors that are shown."""

_MAX_LETTERS = 2_000
_MAX_NUMBERS = 10


@dataclass(frozen=True)
class ErrorGroup:
    """Trials that ended with the same error."""

    status: Status
    error: str
    trials: tuple[int, ...]


@dataclass(frozen=True)
class FailuresInfo:
    """Final statuses and errors."""

    counts: tuple[tuple[Status, int], ...]
    """Each status that occurs, with its number of trials."""
    errors: tuple[ErrorGroup, ...]
    """Different errors, the most frequent first; among equally frequent ones, in order of occurrence."""
    workers_lost: int
    """Number of workers that died during trials, which were then resumed or failed."""


def failures_info(view: SearchView) -> FailuresInfo:
    """Count the trials by status, and collect the different errors."""
    trials = view.history.trials
    counts = ((status, sum(trial.status == status for trial in trials)) for status in STATUS_COLORS)
    groups: dict[tuple[Status, str], list[int]] = {}
    for trial in trials:
        if trial.error is not None:
            groups.setdefault((trial.status, trial.error), []).append(trial.number)
    errors = [ErrorGroup(status, error, tuple(numbers)) for (status, error), numbers in groups.items()]
    return FailuresInfo(
        counts=tuple((status, count) for status, count in counts if count),
        errors=tuple(sorted(errors, key=lambda group: -len(group.trials))),
        workers_lost=sum(trial.workers_lost for trial in trials),
    )


def failures_parts(info: FailuresInfo) -> list[Part]:
    """Return two tables: how trials ended, and the errors."""
    if not info.counts:
        return [Text("No trial has started yet.")]
    parts: list[Part] = [Table(("status", "trials"), tuple((status, str(count)) for status, count in info.counts))]
    if info.workers_lost:
        workers = counted(info.workers_lost, "worker")
        parts.append(Text(f"{workers} died while running a trial; the journal names the trials."))
    if not info.errors:
        return [*parts, Text("No trial has failed.")]
    rows = tuple(
        (_cut(group.error), group.status, _numbers(group.trials), str(len(group.trials)))
        for group in info.errors[:MAX_ERRORS]
    )
    parts.append(Table(("error", "status", "trial numbers", "trials"), rows, text_columns=(0, 1, 2)))
    if len(info.errors) > MAX_ERRORS:
        left_out = counted(len(info.errors) - MAX_ERRORS, "more error is", "more errors are")
        parts.append(Text(f"{left_out} in trials.parquet."))
    return parts


def _cut(error: str) -> str:
    """Return an error without the middle if it is very long: its end says most."""
    if len(error) <= _MAX_LETTERS:
        return error
    return f"{error[: _MAX_LETTERS // 4]}\n…\n{error[-3 * _MAX_LETTERS // 4 :]}"


def _numbers(trials: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in trials[:_MAX_NUMBERS]) + (" …" if len(trials) > _MAX_NUMBERS else "")


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return failures_parts(failures_info(view))
