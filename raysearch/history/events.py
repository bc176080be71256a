"""The events of a search: what happens to it and to its trials, as it travels from a worker to the journal.

A worker sends a `Report`, an `Ended` or a `Halted`; Ray's side adds `WorkerLost`; the search begins, starts and pauses.
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
"""By how much a constraint is violated where nothing measured it; of memory, as if twice what there was were needed."""


@dataclass(frozen=True)
class FirstPoint:
    """Searched values from before the search, to be tried before anything is proposed."""

    values: Mapping[str, Any]
    """By dotted path, inactive ones left out."""
    origin: str
    """Where they come from, in words."""


@dataclass(frozen=True)
class Begun:
    """A search begins."""

    name: str
    mode: Mode
    """Mode of the first objective."""
    trials: int
    """Number of trials that it may start."""
    evidence: Sequence[Mapping[str, Any]] = ()
    """Lines of ended trials of earlier searches, as `lines_of_trials` returns them."""
    first_points: Sequence[FirstPoint] = ()
    further: Sequence[tuple[str, Mode]] = ()
    """Metric and mode of every objective after the first."""


@dataclass(frozen=True)
class Extended:
    """From here on, a search may start another number of trials."""

    trials: int
    """Number of trials in all."""
    retry: Sequence[int] = ()
    """Numbers of failed trials whose values are tried again, by trials of their own."""


@dataclass(frozen=True)
class SamplerNotes:
    """What a sampler of Optuna noted in its study while it proposed a trial, for the proposals to come: JSON values."""

    of_study: Mapping[str, Any] = field(default_factory=dict)
    """System attributes of the study that it changed."""
    of_trial: Mapping[str, Any] = field(default_factory=dict)
    """System attributes of the trial."""


@dataclass(frozen=True)
class Started:
    """A trial starts, with its whole suggestion; the number of the trial is the number of those started before."""

    params: Mapping[str, Any]
    """The searched values that lie in their distributions, by dotted path: what Optuna sees."""
    distributions: Mapping[str, BaseDistribution]
    """At least those of `params`, by dotted path."""
    values: Mapping[str, Any]
    """The searched values that the trial trains with, by dotted path."""
    is_default: bool
    is_audited: bool = False
    """Let through past every stop, so that the stops can be audited."""
    origin: str | None = None
    """Where the values come from, where no algorithm proposed them."""
    memory_estimate: tuple[str, float] | None = None
    """What the config says that its memory grows with."""
    retry_of: int | None = None
    """Number of the failed trial whose values it has."""
    notes: SamplerNotes | None = None
    """What the sampler noted, where one proposed the values."""


@dataclass(frozen=True)
class Report:
    """A trial reports once."""

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
    """Every constraint on reported values, in words -> by how much it is violated; at most 0 where it holds.

    The search adds them: a worker knows no constraints.
    """
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """Memory that the trial could have taken."""
    worker: str | None = None
    """Host and process number of the worker."""


@dataclass(frozen=True)
class Paused:
    """A trial gives its worker back at a rung."""


@dataclass(frozen=True)
class TakenUp:
    """A paused trial goes on."""


@dataclass(frozen=True)
class WorkerLost:
    """The worker of a trial died under it."""

    error: str = ""
    """The reason that Ray gives; the journal does not keep it."""
    times: int = 0
    """Number of workers that the trial has lost by now; the search counts them."""


@dataclass(frozen=True)
class Ended:
    """A trial ends, for good."""

    status: Status
    error: str | None = None
    peak_memory_bytes: int | None = None
    needed_memory_bytes: int | None = None
    """Where memory ran out: the trial needs at least this much."""
    excess: float | None = None
    """Where memory ran out: the excess over what there was, relative to that, if it is known."""
    details: str | None = None
    """The traceback of an error, for the log; the journal does not keep it."""
    values: Sequence[float] | None = None
    """The objectives of the trial, for Optuna; the search adds them."""
    broken: Mapping[str, float] = field(default_factory=dict)
    """Constraints on reported values that its best report violates -> by how much; the search adds them."""


@dataclass(frozen=True)
class Halted:
    """The whole search must stop here; the trial that met the reason goes on later. The journal does not keep it."""

    what: str
    fix: str
    details: str | None = None
    """The traceback of an error, for the log."""


TrialEvent = Report | WorkerLost | Ended
"""What the search is told of a running trial."""

Event = Begun | Extended | Started | Report | Paused | TakenUp | WorkerLost | Ended
"""What the journal keeps."""
