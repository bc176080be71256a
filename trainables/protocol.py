"""What a search asks of a trainable.

A trainable is a subclass of `ray.tune.Trainable`, or a function of one config that calls `ray.tune.report`. It gets
the nested config of its trial and reports a dictionary of metrics. Everything below is optional; what a trainable
declares is checked before anything starts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel

CONFIG_USED = "config_used"
"""Key of a report under which a trainable states the nested config it really trains with; the search compares."""

ITERATION = "iteration"
"""Key of a report that counts training iterations; without it, reports are counted from 1."""

DRAWS = "_draws"
"""What follows a metric's name in the key under which a report gives the draws of its bootstrap, a list of numbers:
the score over other samples, the same ones for every trial. Rungs take the noise of a difference from them."""
ITERATIONS_SHARED = "iterations_shared"
"""Key of a report: training iterations since the report before that another trial had trained already."""

TOOK_EFFECT = "took_effect"
"""What stands before a dotted path, with a slash between, in the key under which a report says in what share of the
iterations since the report before that value of the config had a say. At 0, lifting it would have changed nothing."""


@runtime_checkable
class DeclaresConfig(Protocol):
    """A trainable with a pydantic model of its config: every path of the space is checked against it."""

    Config: type[BaseModel]


@runtime_checkable
class DeclaresMetrics(Protocol):
    """A trainable that names the metrics it reports: every objective must be one of them, or `peak_memory_bytes`."""

    METRICS: frozenset[str]


@runtime_checkable
class HasPreflight(Protocol):
    """A trainable that can look at a config's data before any trial starts."""

    @classmethod
    def preflight(cls, config: Any) -> list[str]:
        """Notices worth a line each.

        Raises:
            InputError: every fault that would break a trial with this config.
        """
        ...


@runtime_checkable
class ChecksCombinations(Protocol):
    """A trainable with values that are wrong only together with others."""

    COMBINED: frozenset[str]
    """Dotted paths of such values: all combinations that a space has of them are checked."""

    @classmethod
    def check_combination(cls, config: Any) -> None:
        """Look at a config quickly.

        Raises:
            InputError: its values do not go together.
        """
        ...


class TrialCost(NamedTuple):
    """What a training takes on the machine at hand."""

    seconds_per_iteration: float
    seconds_per_report: float
    """Scoring and the checkpoint."""
    iterations_per_report: int


@runtime_checkable
class MeasuresCost(Protocol):
    """A trainable that can tell its cost sooner than by its first report."""

    @classmethod
    def measure_cost(cls, config: Any) -> TrialCost:
        """Train a config for a few iterations and throw them away."""
        ...


@runtime_checkable
class SharesBeginning(Protocol):
    """A trainable whose first iterations may be those of other trials too."""

    def share_beginning(self, folder: Path, owner: str) -> None:
        """Called once, before the first step of a trial that takes up no checkpoint of its own.

        Not called where the search knows that no other trial can begin in the same way.

        Args:
            folder: Of the run; all its trials share it. It is deleted once the search has finished.
            owner: The trial's name in the run.
        """
        ...


@runtime_checkable
class HasSharedValues(Protocol):
    """A config whose training may begin with other values than those it goes on with."""

    def with_shared_values(self, values: Mapping[str, Any]) -> "HasSharedValues":
        """The config with the search's base values by dotted path filled in for the shared iterations."""
        ...


@runtime_checkable
class HasUnused(Protocol):
    """A config that knows which of its values it does not use."""

    def unused(self) -> dict[str, str]:
        """Dotted path of every unused value or section, with the reason."""
        ...


@runtime_checkable
class HasWarmup(Protocol):
    """A config whose training changes its loss after a number of iterations: no rung may lie before."""

    def warmup_end(self) -> int:
        """The iteration at which the last part of the loss begins."""
        ...


@runtime_checkable
class HasThreads(Protocol):
    """A config that holds the number of CPU threads, which is part of the result."""

    def with_threads(self, num_threads: int) -> "HasThreads":
        """The config with the number filled in where it was left open."""
        ...


@runtime_checkable
class HasMemoryEstimate(Protocol):
    """A config that tells what its peak memory grows with: what would not fit need not be started to be known."""

    def memory_estimate(self) -> tuple[str, float]:
        """A name, and a number that the peak memory of all configs with that name grows with, about linearly.

        The unit is free: the search learns from measured peaks what it is worth. The name tells apart what has a scale
        of its own, such as networks.
        """
        ...


@runtime_checkable
class HasBudget(Protocol):
    """A config that knows its full budget in iterations."""

    def max_iters(self) -> int:
        """The full budget."""
        ...


@runtime_checkable
class HasMetricEntries(Protocol):
    """A config that knows what the numbers of a reported list stand for: a constraint may name one of them."""

    def metric_entries(self) -> dict[str, tuple[str, ...]]:
        """Name of every list of a report, with the name of each of its numbers."""
        ...
