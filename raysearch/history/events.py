"""Events of a search, from a worker to the journal.

A worker sends a `Report`, an `Ended` or a `Halted`. The process that talks to Ray adds `WorkerLost`. The search itself
adds all other events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.distributions import BaseDistribution

Status = Literal["running", "completed", "stopped", "infeasible", "failed"]
Mode = Literal["max", "min"]

CONSTRAINT = "feasible"
"""Name of the constraint that an infeasible trial violates."""

UNKNOWN_VIOLATION = 1.0
"""Violation of a constraint if it was not measured. For memory it means that twice the available memory was needed."""


@dataclass(frozen=True)
class FirstPoint:
    """Searched values that come from outside the search and are tried before any proposal."""

    values: Mapping[str, Any]
    """Searched values by dotted path; inactive parameters are left out."""
    origin: str
    """Description of where the values come from."""


@dataclass(frozen=True)
class Begun:
    """A search begins."""

    name: str
    mode: Mode
    """Mode of the first objective."""
    trials: int
    """Number of trials that the search may start."""
    evidence: Sequence[Mapping[str, Any]] = ()
    """Journal lines of ended trials of earlier searches, as `lines_of_trials` returns them."""
    first_points: Sequence[FirstPoint] = ()
    further: Sequence[tuple[str, Mode]] = ()
    """Metric and mode of every objective after the first."""
    sections: Mapping[str, str] = field(default_factory=dict)
    """Digest of every section of the space file that shapes the search (`raysearch/space/digests.py`), by name."""


@dataclass(frozen=True)
class Extended:
    """The number of trials that a search may start changes."""

    trials: int
    """New total number of trials."""
    retry: Sequence[int] = ()
    """Numbers of failed trials whose values are tried again in new trials."""


@dataclass(frozen=True)
class SamplerNotes:
    """JSON values that a sampler of Optuna stored in its study with a proposal and needs for later proposals."""

    of_study: Mapping[str, Any] = field(default_factory=dict)
    """System attributes of the study that the sampler changed."""
    of_trial: Mapping[str, Any] = field(default_factory=dict)
    """System attributes of the trial."""


@dataclass(frozen=True)
class Started:
    """A trial starts. Trials are numbered from 0 in the order in which they start."""

    params: Mapping[str, Any]
    """Searched values within their distributions, by dotted path; Optuna sees these."""
    distributions: Mapping[str, BaseDistribution]
    """Distributions by dotted path, at least those of `params`."""
    values: Mapping[str, Any]
    """Searched values that the trial trains with, by dotted path."""
    is_default: bool
    is_audited: bool = False
    """True if the trial continues where it would be stopped, so that early stopping can be audited."""
    origin: str | None = None
    """Description of where the values come from; None if an algorithm proposed them."""
    memory_estimate: tuple[str, float] | None = None
    """Name and size of the config's own estimate of its memory, in a unit of its own (see `HasMemoryEstimate`)."""
    retry_of: int | None = None
    """Number of the failed trial whose values this trial repeats."""
    notes: SamplerNotes | None = None
    """Notes of the sampler that proposed the values; None if no sampler of Optuna did."""


@dataclass(frozen=True)
class Report:
    """A trial reports."""

    iteration: int
    value: float
    """Value of the first objective's metric."""
    metrics: Mapping[str, Any]
    """All other reported metrics, further objectives included: numbers and lists of numbers."""
    checkpoint: str | None
    """Name of the checkpoint that was written just before the report."""
    seconds: float
    """Time since the previous report, measured by the worker."""
    done: bool
    """True if the trainable has finished."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """Violation of every constraint on reported metrics, by the constraint's text; positive if it is violated.

    The search adds them, because a worker does not know the constraints.
    """
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """Memory that the trial could use."""
    worker: str | None = None
    """Host name and process number of the worker."""


@dataclass(frozen=True)
class Paused:
    """A trial releases its worker at a rung and waits for promotion."""


@dataclass(frozen=True)
class TakenUp:
    """A paused trial resumes."""


@dataclass(frozen=True)
class WorkerLost:
    """The worker of a trial died."""

    error: str = ""
    """Reason that Ray gives; it is not written to the journal."""
    times: int = 0
    """Number of workers that the trial has lost so far; the search counts them."""


@dataclass(frozen=True)
class Ended:
    """A trial ends and will not resume."""

    status: Status
    error: str | None = None
    peak_memory_bytes: int | None = None
    needed_memory_bytes: int | None = None
    """Least amount of memory that the trial needs, if it ran out of memory."""
    excess: float | None = None
    """Memory needed beyond the limit, as a fraction of the limit; None if it is unknown or there was enough."""
    details: str | None = None
    """Traceback of an error for the log; it is not written to the journal."""
    values: Sequence[float] | None = None
    """Objectives of the trial for Optuna; the search adds them."""
    broken: Mapping[str, float] = field(default_factory=dict)
    """Amount by which the best report violates each violated constraint, by its text; the search adds them."""


@dataclass(frozen=True)
class Halted:
    """The whole search must stop; the affected trial continues when the search is resumed.

    The journal does not record this event.
    """

    what: str
    fix: str
    details: str | None = None
    """Traceback of an error for the log."""


TrialEvent = Report | WorkerLost | Ended
"""Events that a running trial sends to the search."""

Event = Begun | Extended | Started | Report | Paused | TakenUp | WorkerLost | Ended
"""Events that the journal records."""
