"""What a new trial of a search trains with: a retry, the default config, a first point, or a proposal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from raysearch.algorithms import suggest_with_notes
from raysearch.algorithms.predicted_memory import PredictedMemory
from raysearch.history.events import FirstPoint, SamplerNotes
from raysearch.history.history import History
from raysearch.space.spec import SearchSpec


@dataclass(frozen=True)
class Candidate:
    """The values of a trial that may be started."""

    values: Mapping[str, Any]
    """Searched values by dotted path."""
    is_default: bool = False
    """Whether the trial trains the config as it stands in the space file."""
    origin: str | None = None
    """Where the values come from, if no algorithm proposed them."""
    memory_estimate: tuple[str, float] | None = None
    """What the config says that its memory grows with."""
    retry_of: int | None = None
    """Number of the failed trial whose values these are."""
    notes: SamplerNotes | None = None
    """What the sampler noted, if one proposed the values."""


Candidates: TypeAlias = Callable[[SearchSpec, History], Candidate | None]
"""Returns what the next new trial trains with; None while there is nothing to start."""


def next_candidate(spec: SearchSpec, history: History) -> Candidate | None:
    """Return what the next new trial of a search trains with; None if the space holds nothing untried.

    Failed trials that are to run again come first, then the default config, then the first points of other sources,
    then the proposals of the search algorithm.
    """
    number = len(history.trials)
    failed = history.trials[history.to_retry[0]] if history.to_retry else None
    if failed is not None:
        return _candidate(
            spec, failed.values, failed.is_default, f"retry of trial {failed.number}", retry_of=failed.number
        )
    if number == 0 and spec.trainable.config_model is not None:
        return _candidate(spec, spec.default_values(), True, "default config")
    first = _first_point(spec, history)
    if first is not None:
        return _candidate(spec, first.values, False, first.origin)
    suggestion = suggest_with_notes(spec, history, number)
    return None if suggestion is None else _candidate(spec, suggestion.values, False, notes=suggestion.notes)


def _candidate(
    spec: SearchSpec,
    values: Mapping[str, Any],
    is_default: bool,
    origin: str | None = None,
    retry_of: int | None = None,
    notes: SamplerNotes | None = None,
) -> Candidate:
    estimate = spec.memory_estimate({} if is_default else values)
    return Candidate(values, is_default, origin, estimate, retry_of, notes)


def _first_point(spec: SearchSpec, history: History) -> FirstPoint | None:
    """Return what the next trial tries instead of a proposal, unless it is predicted not to fit into memory.

    A default trial comes before all first points; retries take the place of none.
    """
    num_started = sum(trial.retry_of is None for trial in history.trials)
    index = num_started - (spec.trainable.config_model is not None)
    if not 0 <= index < len(history.first_points):
        return None
    point = history.first_points[index]
    return point if PredictedMemory(spec, history).fits(point.values) else None
