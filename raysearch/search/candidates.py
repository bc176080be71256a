"""Values of a search's next new trial: a retry, the default config, a first point, or a proposal."""

import itertools
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
    """Values of a trial that may be started."""

    values: Mapping[str, Any]
    """Searched values by dotted path."""
    is_default: bool = False
    """True if the trial uses the config of the space file without searched values."""
    origin: str | None = None
    """Description of where the values come from; None if an algorithm proposed them."""
    memory_estimate: tuple[str, float] | None = None
    """Name and size of the config's own estimate of its memory."""
    retry_of: int | None = None
    """Number of the failed trial whose values these are."""
    notes: SamplerNotes | None = None
    """Notes of the sampler that proposed the values; None if no sampler of Optuna did."""


Candidates: TypeAlias = Callable[[SearchSpec, History], Candidate | None]
"""Function that returns the values of the next new trial; None if there is nothing to start."""


def next_candidate(spec: SearchSpec, history: History) -> Candidate | None:
    """Return the values of the next new trial; None if the space holds no untried values.

    Failed trials to be retried come first, then the default config, then the first points from other sources, then the
    proposals of the algorithm.
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
    """Return the first point of the next trial; None if there is none or it is predicted not to fit into memory.

    The default trial comes before all first points, and retries do not use one up.
    """
    num_before = int(spec.trainable.config_model is not None)
    started = (trial for trial in history.trials if trial.retry_of is None)
    index = sum(1 for _ in itertools.islice(started, num_before + len(history.first_points))) - num_before
    if not 0 <= index < len(history.first_points):
        return None
    point = history.first_points[index]
    return point if PredictedMemory(spec, history).fits(point.values) else None
