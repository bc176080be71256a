"""The codec between the facts of a search and the lines of its journal, in Optuna's journal format.

One line is one fact: a trial starts, a trial reports, a trial ends. A line is a JSON object that Optuna's own
`JournalStorage` replays; what Optuna has no field for stands under the key `raysearch`, which it passes over.
"""

import enum
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import TrialState

from raysearch.config.choices import choices_with_lists, for_optuna
from raysearch.history.events import CONSTRAINT, UNKNOWN_VIOLATION, FirstPoint, Mode, Report, SamplerNotes, Status


class Operation(enum.IntEnum):
    """The operations of Optuna's journal format that a search writes."""

    CREATE_STUDY = 0
    SET_STUDY_ATTR = 2
    CREATE_TRIAL = 4
    SET_TRIAL_STATE = 6
    SET_TRIAL_VALUE = 7
    SET_TRIAL_ATTR = 8
    SET_TRIAL_SYSTEM_ATTR = 9


_WORKER_ID = "raysearch"

DIRECTION_OF_MODE: dict[Mode, int] = {
    "min": StudyDirection.MINIMIZE.value,
    "max": StudyDirection.MAXIMIZE.value,
}
MODE_OF_DIRECTION: dict[int, Mode] = {direction: mode for mode, direction in DIRECTION_OF_MODE.items()}

_STATE_OF_STATUS: dict[Status, TrialState] = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""The state in which Optuna learns from an ending; an infeasible trial carries a violated constraint besides."""


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
    directions = [DIRECTION_OF_MODE[one] for one in (mode, *(mode for _, mode in further))]
    extra: dict[str, Any] = {"trials": trials}
    if evidence:
        extra["evidence"] = list(evidence)
    if first_points:
        extra["first_points"] = [asdict(point) for point in first_points]
    if further:
        extra["further"] = [metric for metric, _ in further]
    return _record(Operation.CREATE_STUDY, study_name=name, directions=directions, raysearch=extra)


def lines_of_trials(
    records: Iterable[Mapping[str, Any]], starts: Mapping[int, Mapping[str, Any]], first_number: int
) -> list[Mapping[str, Any]]:
    """The lines of the trials that `starts` names, each begun by the line given there, renumbered."""
    renumbered = {number: index for index, number in enumerate(sorted(starts), start=first_number)}
    kept: list[Mapping[str, Any]] = []
    num_started = 0
    for record in records:
        if record["op_code"] == Operation.CREATE_TRIAL:
            if num_started in starts:
                kept.append(starts[num_started])
            num_started += 1
        elif record.get("trial_id") in renumbered:
            kept.append({**record, "trial_id": renumbered[record["trial_id"]]})
    return kept


def target_record(trials: int) -> dict[str, Any]:
    """The search may start this many trials in all, from here on."""
    return _record(Operation.SET_STUDY_ATTR, study_id=0, user_attr={"trials": trials})


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
    notes: SamplerNotes | None = None,
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
    if notes is not None and notes.of_study:
        extra["sampler_notes"] = dict(notes.of_study)
    if choices:  # Optuna's own field holds their text
        extra["choices"] = choices
    return _record(
        Operation.CREATE_TRIAL,
        study_id=0,
        datetime_start=_iso(now),
        state=TrialState.RUNNING.value,
        params={name: distributions[name].to_internal_repr(value) for name, value in params.items()},
        distributions={name: distribution_to_json(for_optuna(distributions[name])) for name in params},
        user_attrs=user_attrs,
        system_attrs={} if notes is None else dict(notes.of_trial),
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
        Operation.SET_TRIAL_VALUE,
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
    return int(record["trial_id"]) if record["op_code"] == Operation.SET_TRIAL_VALUE else None


def paused_record(number: int, is_paused: bool) -> dict[str, Any]:
    """A trial gives its worker back at a rung, or is taken up again."""
    return _record(Operation.SET_TRIAL_ATTR, trial_id=number, user_attr={"paused": is_paused})


def paused_trial(record: Mapping[str, Any]) -> int | None:
    """The number of the trial that a line says pauses; None for every other line."""
    is_pause = record["op_code"] == Operation.SET_TRIAL_ATTR and record["user_attr"].get("paused", False)
    return int(record["trial_id"]) if is_pause else None


def worker_lost_record(number: int, workers_lost: int) -> dict[str, Any]:
    """The worker of a trial died under it, for the n-th time."""
    return _record(Operation.SET_TRIAL_ATTR, trial_id=number, user_attr={"workers_lost": workers_lost})


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
        before.append(
            _record(Operation.SET_TRIAL_SYSTEM_ATTR, trial_id=number, system_attr={f"constraints:{name}": amount})
        )
    if error is not None:
        before.append(_record(Operation.SET_TRIAL_ATTR, trial_id=number, user_attr={status: error}))
    now = time.time()
    end = _record(
        Operation.SET_TRIAL_STATE,
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


def _record(operation: Operation, **fields: Any) -> dict[str, Any]:
    return {"op_code": operation.value, "worker_id": _WORKER_ID, **fields}


def _iso(unix_time: float) -> str:
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="microseconds")
