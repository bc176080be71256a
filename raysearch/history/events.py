"""The facts that the record of a search consists of: reports, how a trial can end, what a search begins with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["running", "completed", "stopped", "infeasible", "failed"]
Mode = Literal["max", "min"]

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
class FirstPoint:
    """Searched values from before the search, to be tried before anything is proposed."""

    values: Mapping[str, Any]
    """By dotted path, inactive ones left out."""
    origin: str
    """Where they come from, in words."""


@dataclass(frozen=True)
class SamplerNotes:
    """What a sampler of Optuna noted in its study while it proposed a trial, for the proposals to come: JSON values."""

    of_study: Mapping[str, Any] = field(default_factory=dict)
    """System attributes of the study that it changed."""
    of_trial: Mapping[str, Any] = field(default_factory=dict)
    """System attributes of the trial."""
