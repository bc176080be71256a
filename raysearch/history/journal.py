"""The one record of a search: an append-only file in Optuna's journal format, and the history read out of it.

One line is one fact: a trial starts, a trial reports, a trial ends. A line is a JSON object that Optuna's own
`JournalStorage` replays; what Optuna has no field for stands under the key `raysearch`, which it passes over. Whatever
else there is (rungs, the sampler's view, tables, the report) is a function of these lines in their order.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from raysearch.config.choices import categorical, choices_with_lists, for_optuna
from raysearch.errors import Fault, InputError
from trainables.protocol import ITERATIONS_SHARED

Status = Literal["running", "completed", "stopped", "infeasible", "failed"]
Mode = Literal["max", "min"]

_WORKER_ID = "raysearch"
_CREATE_STUDY, _STUDY_ATTR, _CREATE_TRIAL, _TRIAL_STATE, _INTERMEDIATE, _TRIAL_ATTR, _SYSTEM_ATTR = 0, 2, 4, 6, 7, 8, 9
"""Operation codes of Optuna's journal format that are written here."""

_DIRECTION_OF_MODE: dict[Mode, int] = {
    "min": StudyDirection.MINIMIZE.value,
    "max": StudyDirection.MAXIMIZE.value,
}
_MODE_OF_DIRECTION: dict[int, Mode] = {direction: mode for mode, direction in _DIRECTION_OF_MODE.items()}

_STATE_OF_STATUS: dict[Status, TrialState] = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""The state in which Optuna learns from an ending; an infeasible trial carries a violated constraint besides."""

PEAK_MEMORY = "peak_memory_bytes"
"""The one objective that no trainable reports: it is measured around every trial."""

CONSTRAINT = "feasible"
"""Name of the constraint that an infeasible trial violates."""

UNKNOWN_VIOLATION = 1.0
"""By how much a constraint is violated where nothing measured it; of memory, as if twice what there was were needed."""


@dataclass(frozen=True)
class Report:
    """What a trial said once."""

    iteration: int
    value: float
    """The objective's metric; of several objectives, the first one's."""
    metrics: Mapping[str, Any]
    """Everything else that was reported, further objectives among it: numbers and lists of numbers."""
    checkpoint: str | None
    """Name of the checkpoint that was written just before the report."""
    seconds: float
    """Time from the report before to this one, measured where the trial runs."""
    done: bool
    """The trainable has nothing more to do."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """Every constraint on what is reported, in words -> by how much it is violated; at most 0 where it holds."""


@dataclass(frozen=True)
class Leg:
    """A stretch of time in which a worker was busy with a trial."""

    worker: str
    """Where the process ran, and its number."""
    begin: float
    """Unix time, in seconds."""
    end: float


_ONE_LEG_S = 2.0
"""Time between two stretches of a worker's that are one: so long may a report be on its way."""


@dataclass(frozen=True)
class FirstPoint:
    """Searched values from before the search, to be tried before anything is proposed."""

    values: Mapping[str, Any]
    """By dotted path, inactive ones left out."""
    origin: str
    """Where they come from, in words."""


@dataclass
class TrialHistory:
    """All that is known of one trial."""

    number: int
    params: dict[str, Any]
    """The searched values that lie in their distributions: what Optuna sees."""
    values: dict[str, Any]
    """The searched values the trial trains with, by dotted path."""
    distributions: dict[str, BaseDistribution]
    started: float
    """Unix time, in seconds."""
    is_default: bool
    is_audited: bool = False
    """Let through past every stop, so that the stops can be audited."""
    reports: dict[int, Report] = field(default_factory=dict)
    """By iteration; a repeated report replaces the earlier."""
    status: Status = "running"
    error: str | None = None
    ended: float | None = None
    end_order: int | None = None
    """How many trials had ended, or paused, before it first did either."""
    is_paused: bool = False
    """Waits at a rung for being let on; its status is still running."""
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """What it could have taken."""
    needed_memory_bytes: int | None = None
    """Where it ran out of memory: it needs at least so much; None where it did not."""
    excess: float | None = None
    """Where it was infeasible: how far it went beyond what there was, relative to that, if that is known."""
    memory_estimate: tuple[str, float] | None = None
    """What its config said that its memory grows with."""
    workers_lost: int = 0
    origin: str | None = None
    """Where the values come from, where no algorithm proposed them."""
    retry_of: int | None = None
    """Number of the failed trial whose values it has."""
    is_retried: bool = False
    """It failed, and another trial has its values."""
    legs: list[Leg] = field(default_factory=list)
    """Which workers were busy with it when, up to its last report; empty in journals of before."""

    @property
    def violation(self) -> float:
        """By how much it violates the constraint to be feasible: 0 unless it was infeasible."""
        if self.status != "infeasible":
            return 0.0
        return UNKNOWN_VIOLATION if self.excess is None else self.excess

    @property
    def effective_status(self) -> Status:
        """The status, or that of a stopped trial while it is paused: what it is unless it is taken up again."""
        return "stopped" if self.is_paused else self.status

    @property
    def last(self) -> Report | None:
        """The report of the latest iteration."""
        return self.reports[max(self.reports)] if self.reports else None

    def broken(self, mode: Mode) -> dict[str, float]:
        """The constraints on what is reported that its best report does not hold, with the violated amounts."""
        best = self.best(mode)
        return {} if best is None else {text: amount for text, amount in best.violations.items() if amount > 0.0}

    @property
    def iterations_shared(self) -> int:
        """Training iterations that another trial had trained already."""
        return sum(int(report.metrics.get(ITERATIONS_SHARED, 0)) for report in self.reports.values())

    def best(self, mode: Mode) -> Report | None:
        """The report with the best value; the earliest of equals."""
        if not self.reports:
            return None
        sign = 1.0 if mode == "min" else -1.0
        return min(self.reports.values(), key=lambda report: (sign * report.value, report.iteration))


class History:
    """The search so far, as the lines of its journal tell it."""

    def __init__(self) -> None:
        self.trials: list[TrialHistory] = []
        self.evidence: list[TrialHistory] = []
        """Ended trials of earlier searches, which algorithms learn from and nothing else counts; numbered below 0."""
        self.first_points: list[FirstPoint] = []
        self.mode: Mode = "max"
        """Of the objective; of several, of the first."""
        self.further: tuple[tuple[str, Mode], ...] = ()
        """Metric and mode of every objective after the first."""
        self.target_trials: int = 0
        self.to_retry: list[int] = []
        """Numbers of failed trials whose values are to be tried again, before anything is proposed."""
        self.name: str = ""
        self._num_ended = 0

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Of every objective."""
        return (self.mode, *(mode for _, mode in self.further))

    def apply(self, record: Mapping[str, Any]) -> None:
        """Take one line in."""
        extra = record.get("raysearch", {})
        match record["op_code"]:
            case 0:
                self.name = record["study_name"]
                self.mode, *further = (_MODE_OF_DIRECTION[direction] for direction in record["directions"])
                self.further = tuple(zip(extra.get("further", ()), further, strict=True))
                self.target_trials = extra["trials"]
                self.evidence = _replayed(record, extra.get("evidence", ()))
                self.first_points = [FirstPoint(**point) for point in extra.get("first_points", ())]
            case 2:
                self.target_trials = int(record["user_attr"].get("trials", self.target_trials))
                self.to_retry += extra.get("retry", ())
            case 4:
                distributions = {name: json_to_distribution(text) for name, text in record["distributions"].items()}
                distributions |= {name: categorical(choices) for name, choices in extra.get("choices", {}).items()}
                self.trials.append(
                    TrialHistory(
                        number=len(self.trials),
                        params={n: distributions[n].to_external_repr(v) for n, v in record["params"].items()},
                        values=extra["values"],
                        distributions=distributions,
                        started=extra["time"],
                        is_default=extra["is_default"],
                        is_audited=extra.get("is_audited", False),  # journals of before know no audit
                        origin=record["user_attrs"].get("origin"),
                        memory_estimate=tuple(extra["memory_estimate"]) if extra.get("memory_estimate") else None,
                        retry_of=extra.get("retry_of"),
                    )
                )
                if extra.get("retry_of") is not None:
                    self._replace_by_retry(self.trials[extra["retry_of"]])
            case 7:
                trial = self.trials[record["trial_id"]]
                trial.reports[record["step"]] = Report(
                    iteration=record["step"],
                    value=record["intermediate_value"],
                    metrics=extra["metrics"],
                    checkpoint=extra["checkpoint"],
                    seconds=extra["seconds"],
                    done=extra["done"],
                    violations=extra.get("violations", {}),
                )
                if extra.get("worker") is not None:
                    _add_leg(trial.legs, Leg(extra["worker"], extra["time"] - extra["seconds"], extra["time"]))
                trial.peak_memory_bytes = _largest(trial.peak_memory_bytes, extra["peak_memory_bytes"])
                trial.memory_limit_bytes = extra.get("memory_limit_bytes", trial.memory_limit_bytes)
            case 8:
                trial = self.trials[record["trial_id"]]
                trial.workers_lost = record["user_attr"].get("workers_lost", trial.workers_lost)
                trial.is_paused = record["user_attr"].get("paused", trial.is_paused)
                if trial.is_paused:
                    self._note_order(trial)
            case 6:
                trial = self.trials[record["trial_id"]]
                trial.status, trial.error, trial.ended = extra["status"], extra["error"], extra["time"]
                trial.peak_memory_bytes = _largest(trial.peak_memory_bytes, extra.get("peak_memory_bytes"))
                trial.needed_memory_bytes, trial.excess = extra.get("needed_memory_bytes"), extra.get("excess")
                trial.is_paused = False
                self._note_order(trial)

    def _replace_by_retry(self, failed: TrialHistory) -> None:
        """Take a failed trial out of the queue; where it was the default trial, the retry is that now."""
        self.to_retry.remove(failed.number)
        failed.is_retried, failed.is_default = True, False

    def _note_order(self, trial: TrialHistory) -> None:
        if trial.end_order is None:
            trial.end_order = self._num_ended
            self._num_ended += 1

    @property
    def is_finished(self) -> bool:
        """Return True if every trial that may start has started and ended."""
        ended = all(trial.status != "running" for trial in self.trials)
        return ended and len(self.trials) >= self.target_trials > 0

    @property
    def failed(self) -> list[TrialHistory]:
        """The trials that failed and were not run again."""
        return [trial for trial in self.trials if trial.status == "failed" and not trial.is_retried]

    @property
    def known_trials(self) -> list[TrialHistory]:
        """All that an algorithm may learn from: the evidence, then the search's own trials."""
        return [*self.evidence, *self.trials]

    @property
    def iterations_shared(self) -> tuple[int, int]:
        """Training iterations that no trial had to train again, and iterations of all trials."""
        whole = sum(trial.last.iteration for trial in self.trials if trial.last)
        return sum(trial.iterations_shared for trial in self.trials), whole

    def best_trial(self) -> TrialHistory | None:
        """The first of `ranked`."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[TrialHistory]:
        """The trials that can win, the best first: by their best reports, the earlier of equals first.

        A trial that breaks a constraint on what is reported comes after all that hold every one; of those that break
        some, the least violation comes first.
        """
        standings = ((self.standing(trial), trial) for trial in self.trials)
        can_win = [(standing, trial) for standing, trial in standings if standing is not None]
        return [trial for _, trial in sorted(can_win, key=lambda pair: pair[0])]

    def standing(self, trial: TrialHistory) -> tuple[float, float] | None:
        """What a trial is ranked by, small is good: its violation, its loss; None where it cannot win."""
        best = trial.best(self.mode)
        if best is None or trial.status in ("failed", "infeasible"):
            return None
        return sum(trial.broken(self.mode).values()), best.value if self.mode == "min" else -best.value

    def values_of(self, trial: TrialHistory) -> tuple[float, ...] | None:
        """A trial's objectives, at the report that counts: the one that is best in the first objective."""
        best = trial.best(self.mode)
        return None if best is None else self.values_at(trial, best)

    def values_at(self, trial: TrialHistory, report: Report) -> tuple[float, ...]:
        """A trial's objectives at one of its reports; its peak memory, which only grows, is that of all of them."""
        measured: dict[str, Any] = {**report.metrics, PEAK_MEMORY: trial.peak_memory_bytes}
        return (report.value, *(float(measured[metric]) for metric, _ in self.further))

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """The objectives as losses, of which small is good."""
        return tuple(value if mode == "min" else -value for value, mode in zip(values, self.modes, strict=True))

    def is_admissible(self, trial: TrialHistory) -> bool:
        """Whether a trial can win and holds every constraint on what is reported."""
        standing = self.standing(trial)
        return standing is not None and standing[0] == 0.0


def _replayed(study: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[TrialHistory]:
    """The trials that some lines tell of, as if they were those of a search that went before."""
    earlier = History()
    if records:
        bare = {key: value for key, value in study["raysearch"].items() if key not in ("evidence", "first_points")}
        for record in ({**study, "raysearch": bare}, *records):
            earlier.apply(record)
    for trial in earlier.trials:
        assert trial.end_order is not None, "evidence has ended"
        trial.number -= len(earlier.trials)
        trial.end_order -= len(earlier.trials)
    return earlier.trials


def _add_leg(legs: list[Leg], leg: Leg) -> None:
    if legs and legs[-1].worker == leg.worker and leg.begin - legs[-1].end <= _ONE_LEG_S:
        legs[-1] = replace(legs[-1], end=leg.end)
    else:
        legs.append(leg)


def _largest(known: int | None, new: int | None) -> int | None:
    return max((n for n in (known, new) if n is not None), default=None)


class Journal:
    """The journal file, opened by its one writer.

    Opening takes an exclusive lock that ends with the process, however it ends, and cuts a torn last line: what is left
    of a write that a kill interrupted. Every append is one write and one fsync.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` for writing, creating it where it does not exist.

        Raises:
            InputError: another process is writing it, or it cannot be written.
        """
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            what = f"cannot be opened for writing ({error.strerror})"
            raise InputError([Fault(str(path), what, "make its folder writable")]) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise InputError(
                [Fault(str(path), "another raysearch is running this search", "wait for it, or stop it first")]
            ) from None
        whole = _length_of_whole_lines(path)
        if whole != os.fstat(self._file).st_size:
            os.ftruncate(self._file, whole)
        os.lseek(self._file, 0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._file)

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records, one line each, and wait until the disk has them.

        Raises:
            OSError: the disk is full, or fails; nothing of the records is left in the file.
        """
        data = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
        before = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            os.lseek(self._file, 0, os.SEEK_END)
            raise


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal, in order; a torn last line is passed over.

    Raises:
        InputError: there is no journal, or a line in it is damaged.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError([Fault(str(path), "no such journal", "name the folder of a run")]) from None
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict) or "op_code" not in record:
                raise InputError(
                    [Fault(f"{path}: line {number}", "is not a line of a search", "restore the file from a copy")]
                )
            yield record


def read_history(path: Path) -> History:
    """The search that a journal records, read without touching it.

    Raises:
        InputError: there is no journal, or a line in it is damaged.
    """
    history = History()
    for record in read_records(path):
        history.apply(record)
    return history


def _length_of_whole_lines(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        end = file.tell()
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def study_record(
    name: str,
    mode: Mode,
    trials: int,
    evidence: Sequence[Mapping[str, Any]] = (),
    first_points: Sequence[FirstPoint] = (),
    further: Sequence[tuple[str, Mode]] = (),
) -> dict[str, Any]:
    """The first line of a search: its name, its directions, how many trials it may start, what it takes over.

    Evidence is the lines of ended trials, by `lines_of_trials`; `further` is metric and mode of the objectives after
    the first.
    """
    directions = [_DIRECTION_OF_MODE[one] for one in (mode, *(mode for _, mode in further))]
    extra: dict[str, Any] = {"trials": trials}
    if evidence:
        extra["evidence"] = list(evidence)
    if first_points:
        extra["first_points"] = [asdict(point) for point in first_points]
    if further:
        extra["further"] = [metric for metric, _ in further]
    return _record(_CREATE_STUDY, study_name=name, directions=directions, raysearch=extra)


def lines_of_trials(
    records: Iterable[Mapping[str, Any]], starts: Mapping[int, Mapping[str, Any]], first_number: int
) -> list[Mapping[str, Any]]:
    """The lines of the trials that `starts` names, each begun by the line given there, renumbered."""
    renumbered = {number: index for index, number in enumerate(sorted(starts), start=first_number)}
    kept: list[Mapping[str, Any]] = []
    num_started = 0
    for record in records:
        if record["op_code"] == _CREATE_TRIAL:
            if num_started in starts:
                kept.append(starts[num_started])
            num_started += 1
        elif record.get("trial_id") in renumbered:
            kept.append({**record, "trial_id": renumbered[record["trial_id"]]})
    return kept


def target_record(trials: int) -> dict[str, Any]:
    """The search may start this many trials in all, from here on."""
    return _record(_STUDY_ATTR, study_id=0, user_attr={"trials": trials})


def retry_record(trials: int, numbers: Sequence[int]) -> dict[str, Any]:
    """The values of these failed trials are tried again, by trials of their own: `trials` in all, from here on."""
    return {**target_record(trials), "raysearch": {"retry": list(numbers)}}


def start_record(
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    values: Mapping[str, Any],
    is_default: bool,
    is_audited: bool = False,
    origin: str | None = None,
    memory_estimate: tuple[str, float] | None = None,
    retry_of: int | None = None,
) -> dict[str, Any]:
    """A trial starts: the suggestion, whole, in one line; `origin` says where values come from that none proposed."""
    now = time.time()
    user_attrs: dict[str, Any] = {} if origin is None else {"origin": origin}
    if is_audited:
        user_attrs["audited"] = True
    extra: dict[str, Any] = {
        "values": dict(values),
        "is_default": is_default,
        "is_audited": is_audited,
        "memory_estimate": memory_estimate,
        "time": now,
    }
    choices = {name: found for name in params if (found := choices_with_lists(distributions[name])) is not None}
    if retry_of is not None:
        extra["retry_of"] = retry_of
    if choices:  # Optuna's own field holds their text
        extra["choices"] = choices
    return _record(
        _CREATE_TRIAL,
        study_id=0,
        datetime_start=_iso(now),
        state=TrialState.RUNNING.value,
        params={name: distributions[name].to_internal_repr(value) for name, value in params.items()},
        distributions={name: distribution_to_json(for_optuna(distributions[name])) for name in params},
        user_attrs=user_attrs,
        system_attrs={},
        intermediate_values={},
        raysearch=extra,
    )


def report_record(
    number: int,
    report: Report,
    peak_memory_bytes: int | None,
    memory_limit_bytes: int | None = None,
    worker: str | None = None,
) -> dict[str, Any]:
    """A trial reports once; `worker` says where the process ran, and its number."""
    return _record(
        _INTERMEDIATE,
        trial_id=number,
        step=report.iteration,
        intermediate_value=report.value,
        raysearch={
            "metrics": dict(report.metrics),
            "checkpoint": report.checkpoint,
            "seconds": report.seconds,
            "done": report.done,
            "peak_memory_bytes": peak_memory_bytes,
            "memory_limit_bytes": memory_limit_bytes,
            "violations": dict(report.violations),
            "worker": worker,
            "time": time.time(),
        },
    )


def reported_trial(record: Mapping[str, Any]) -> int | None:
    """The number of the trial whose report a line is; None for every other line."""
    return int(record["trial_id"]) if record["op_code"] == _INTERMEDIATE else None


def paused_record(number: int, is_paused: bool) -> dict[str, Any]:
    """A trial gives its worker back at a rung, or is taken up again."""
    return _record(_TRIAL_ATTR, trial_id=number, user_attr={"paused": is_paused})


def paused_trial(record: Mapping[str, Any]) -> int | None:
    """The number of the trial that a line says pauses; None for every other line."""
    is_pause = record["op_code"] == _TRIAL_ATTR and record["user_attr"].get("paused", False)
    return int(record["trial_id"]) if is_pause else None


def worker_lost_record(number: int, workers_lost: int) -> dict[str, Any]:
    """The worker of a trial died under it, for the n-th time."""
    return _record(_TRIAL_ATTR, trial_id=number, user_attr={"workers_lost": workers_lost})


def end_records(
    number: int,
    status: Status,
    values: Sequence[float] | None,
    error: str | None,
    *,
    peak_memory_bytes: int | None = None,
    needed_memory_bytes: int | None = None,
    excess: float | None = None,
    broken: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """A trial ends with its objectives; what Optuna must know of it comes first, since an ended trial takes no more."""
    before = []
    violations = dict(broken or {})
    if status == "infeasible":
        violations[CONSTRAINT] = UNKNOWN_VIOLATION if excess is None else excess
    for name, amount in violations.items():
        before.append(_record(_SYSTEM_ATTR, trial_id=number, system_attr={f"constraints:{name}": amount}))
    if error is not None:
        before.append(_record(_TRIAL_ATTR, trial_id=number, user_attr={status: error}))
    now = time.time()
    end = _record(
        _TRIAL_STATE,
        trial_id=number,
        state=_STATE_OF_STATUS[status].value,
        values=None if values is None or status == "failed" else list(values),
        datetime_complete=_iso(now),
        raysearch={
            "status": status,
            "error": error,
            "time": now,
            "peak_memory_bytes": peak_memory_bytes,
            "needed_memory_bytes": needed_memory_bytes,
            "excess": excess,
        },
    )
    return [*before, end]


def _record(op_code: int, **fields: Any) -> dict[str, Any]:
    return {"op_code": op_code, "worker_id": _WORKER_ID, **fields}


def _iso(unix_time: float) -> str:
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="microseconds")
