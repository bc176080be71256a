"""The codec between the events of a search and the lines of its journal, in Optuna's journal format.

One line records one event, such as the start, a report or the end of a trial. A line is a JSON object that Optuna's own
`JournalStorage` can replay. Data that Optuna has no field for is stored under the key `raysearch`, which Optuna
ignores.
"""

import enum
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import TrialState
from pydantic import TypeAdapter

from raysearch.config.choices import categorical, choices_with_lists, for_optuna
from raysearch.history.events import (
    CONSTRAINT,
    UNKNOWN_VIOLATION,
    Begun,
    Ended,
    Event,
    Extended,
    Mode,
    Paused,
    Report,
    SamplerNotes,
    Started,
    Status,
    TakenUp,
    WorkerLost,
)


class Operation(enum.IntEnum):
    """The operations of Optuna's journal format that a search uses."""

    CREATE_STUDY = 0
    SET_STUDY_ATTR = 2
    CREATE_TRIAL = 4
    SET_TRIAL_STATE = 6
    SET_TRIAL_VALUE = 7
    SET_TRIAL_ATTR = 8
    SET_TRIAL_SYSTEM_ATTR = 9


_WORKER_ID = "raysearch"

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
"""State of an ended trial in Optuna; an infeasible trial also carries a violated constraint."""

_BEGUN, _EXTENDED, _REPORT = TypeAdapter(Begun), TypeAdapter(Extended), TypeAdapter(Report)
_LOST, _ENDED = TypeAdapter(WorkerLost), TypeAdapter(Ended)


class Fact(NamedTuple):
    """An event as the journal records it."""

    event: Event
    trial: int | None
    """Number of the trial; None if the event is the start of a trial or concerns the whole search."""
    time: float
    """Unix time at which the event was written, in seconds; 0 for events that are recorded without a time."""


def lines_of(event: Event, trial: int | None = None) -> list[dict[str, Any]]:
    """Return the lines that record an event; `trial` is the number of the running trial that it concerns."""
    match event:
        case Begun():
            return [_begun_line(event)]
        case Extended():
            retry = {"raysearch": {"retry": list(event.retry)}} if event.retry else {}
            return [_record(Operation.SET_STUDY_ATTR, study_id=0, user_attr={"trials": event.trials}, **retry)]
        case Started():
            return [_started_line(event)]
        case Report():
            return [_report_line(event, trial)]
        case Paused():
            return [_record(Operation.SET_TRIAL_ATTR, trial_id=trial, user_attr={"paused": True})]
        case TakenUp():
            return [_record(Operation.SET_TRIAL_ATTR, trial_id=trial, user_attr={"paused": False})]
        case WorkerLost():
            return [_record(Operation.SET_TRIAL_ATTR, trial_id=trial, user_attr={"workers_lost": event.times})]
        case Ended():
            return _ended_lines(event, trial)


def fact_of(record: Mapping[str, Any]) -> Fact | None:
    """Return the fact that a line records; None for a line that only Optuna needs.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: no event has such a line.
    """
    event = _event_of(record)
    return None if event is None else Fact(event, record.get("trial_id"), record.get("raysearch", {}).get("time", 0.0))


def lines_of_trials(
    records: Iterable[Mapping[str, Any]], starts: Mapping[int, Mapping[str, Any]], first_number: int
) -> list[Mapping[str, Any]]:
    """Return the lines of some trials with new numbers, starting at `first_number`.

    Args:
        records: All lines of a journal.
        starts: Line that replaces the start of each wanted trial, by the trial's number in `records`.
        first_number: New number of the first wanted trial.
    """
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


def _event_of(record: Mapping[str, Any]) -> Event | None:
    extra = record.get("raysearch", {})
    match record["op_code"]:
        case Operation.CREATE_STUDY:
            return _begun(record, extra)
        case Operation.SET_STUDY_ATTR if "trials" in record["user_attr"]:
            return _EXTENDED.validate_python({"trials": record["user_attr"]["trials"], "retry": extra.get("retry", ())})
        case Operation.CREATE_TRIAL:
            return _started(record, extra)
        case Operation.SET_TRIAL_VALUE:
            return _report(record, extra)
        case Operation.SET_TRIAL_ATTR if "paused" in record["user_attr"]:
            return Paused() if record["user_attr"]["paused"] else TakenUp()
        case Operation.SET_TRIAL_ATTR if "workers_lost" in record["user_attr"]:
            return _LOST.validate_python({"times": record["user_attr"]["workers_lost"]})
        case Operation.SET_TRIAL_STATE:
            return _ended(record, extra)
    return None


def _begun_line(event: Begun) -> dict[str, Any]:
    directions = [_DIRECTION_OF_MODE[mode] for mode in (event.mode, *(mode for _, mode in event.further))]
    extra: dict[str, Any] = {"trials": event.trials}
    if event.evidence:
        extra["evidence"] = list(event.evidence)
    if event.first_points:
        extra["first_points"] = [asdict(point) for point in event.first_points]
    if event.further:
        extra["further"] = [metric for metric, _ in event.further]
    if event.sections:
        extra["sections"] = dict(event.sections)
    return _record(Operation.CREATE_STUDY, study_name=event.name, directions=directions, raysearch=extra)


def _begun(record: Mapping[str, Any], extra: Mapping[str, Any]) -> Begun:
    mode, *further = (_MODE_OF_DIRECTION[direction] for direction in record["directions"])
    return _BEGUN.validate_python(
        {
            "name": record["study_name"],
            "mode": mode,
            "trials": extra["trials"],
            "evidence": extra.get("evidence", ()),
            "first_points": extra.get("first_points", ()),
            "further": tuple(zip(extra.get("further", ()), further, strict=True)),
            "sections": extra.get("sections", {}),
        }
    )


def _started_line(event: Started) -> dict[str, Any]:
    now, distributions = time.time(), event.distributions
    user_attrs: dict[str, Any] = {} if event.origin is None else {"origin": event.origin}
    if event.is_audited:
        user_attrs["audited"] = True
    extra: dict[str, Any] = {
        "values": dict(event.values),
        "is_default": event.is_default,
        "is_audited": event.is_audited,
        "memory_estimate": event.memory_estimate,
        "time": now,
    }
    choices = {name: found for name in event.params if (found := choices_with_lists(distributions[name])) is not None}
    if event.retry_of is not None:
        extra["retry_of"] = event.retry_of
    if event.notes is not None and event.notes.of_study:
        extra["sampler_notes"] = dict(event.notes.of_study)
    if choices:  # Optuna's own field cannot hold lists: it holds their text
        extra["choices"] = choices
    return _record(
        Operation.CREATE_TRIAL,
        study_id=0,
        datetime_start=_iso(now),
        state=TrialState.RUNNING.value,
        params={name: distributions[name].to_internal_repr(value) for name, value in event.params.items()},
        distributions={name: distribution_to_json(for_optuna(distributions[name])) for name in event.params},
        user_attrs=user_attrs,
        system_attrs={} if event.notes is None else dict(event.notes.of_trial),
        intermediate_values={},
        raysearch=extra,
    )


def _started(record: Mapping[str, Any], extra: Mapping[str, Any]) -> Started:
    distributions = {name: _distribution(text) for name, text in record["distributions"].items()}
    distributions |= {name: categorical(choices) for name, choices in extra.get("choices", {}).items()}
    return Started(
        params={name: distributions[name].to_external_repr(value) for name, value in record["params"].items()},
        distributions=distributions,
        values=extra["values"],
        is_default=extra["is_default"],
        is_audited=extra.get("is_audited", False),  # journals of version 0.1 have no audit
        origin=record["user_attrs"].get("origin"),
        memory_estimate=tuple(extra["memory_estimate"]) if extra.get("memory_estimate") else None,
        retry_of=extra.get("retry_of"),
        notes=SamplerNotes(extra.get("sampler_notes", {}), record["system_attrs"]),
    )


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    """Return the distribution of a JSON text, one object for all trials that have it."""
    return json_to_distribution(text)


def _report_line(event: Report, trial: int | None) -> dict[str, Any]:
    return _record(
        Operation.SET_TRIAL_VALUE,
        trial_id=trial,
        step=event.iteration,
        intermediate_value=event.value,
        raysearch={
            "metrics": dict(event.metrics),
            "checkpoint": event.checkpoint,
            "seconds": event.seconds,
            "done": event.done,
            "peak_memory_bytes": event.peak_memory_bytes,
            "memory_limit_bytes": event.memory_limit_bytes,
            "violations": dict(event.violations),
            "worker": event.worker,
            "time": time.time(),
        },
    )


def _report(record: Mapping[str, Any], extra: Mapping[str, Any]) -> Report:
    return _REPORT.validate_python(
        {
            "iteration": record["step"],
            "value": record["intermediate_value"],
            "metrics": extra["metrics"],
            "checkpoint": extra["checkpoint"],
            "seconds": extra["seconds"],
            "done": extra["done"],
            "violations": extra.get("violations", {}),  # journals of version 0.1 lack violations, limits and workers
            "peak_memory_bytes": extra["peak_memory_bytes"],
            "memory_limit_bytes": extra.get("memory_limit_bytes"),
            "worker": extra.get("worker"),
        }
    )


def _ended_lines(event: Ended, trial: int | None) -> list[dict[str, Any]]:
    """Return the lines of an ending; attributes come first, because Optuna refuses them once a trial has ended."""
    before = []
    violations = dict(event.broken)
    if event.status == "infeasible":
        violations[CONSTRAINT] = UNKNOWN_VIOLATION if event.excess is None else event.excess
    for name, amount in violations.items():
        attr = {f"constraints:{name}": amount}
        before.append(_record(Operation.SET_TRIAL_SYSTEM_ATTR, trial_id=trial, system_attr=attr))
    if event.error is not None:
        before.append(_record(Operation.SET_TRIAL_ATTR, trial_id=trial, user_attr={event.status: event.error}))
    now = time.time()
    end = _record(
        Operation.SET_TRIAL_STATE,
        trial_id=trial,
        state=_STATE_OF_STATUS[event.status].value,
        values=None if event.values is None or event.status == "failed" else list(event.values),
        datetime_complete=_iso(now),
        raysearch={
            "status": event.status,
            "error": event.error,
            "time": now,
            "peak_memory_bytes": event.peak_memory_bytes,
            "needed_memory_bytes": event.needed_memory_bytes,
            "excess": event.excess,
        },
    )
    return [*before, end]


def _ended(record: Mapping[str, Any], extra: Mapping[str, Any]) -> Ended:
    return _ENDED.validate_python(
        {
            "status": extra["status"],
            "error": extra["error"],
            "peak_memory_bytes": extra.get("peak_memory_bytes"),
            "needed_memory_bytes": extra.get("needed_memory_bytes"),
            "excess": extra.get("excess"),
            "values": record.get("values"),
        }
    )


def _record(operation: Operation, **fields: Any) -> dict[str, Any]:
    return {"op_code": operation.value, "worker_id": _WORKER_ID, **fields}


def _iso(unix_time: float) -> str:
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="microseconds")
