"""Interfaces between a search and a trainable.

A trainable is a subclass of `ray.tune.Trainable`, or a function of one config that calls `ray.tune.report`. It receives
the nested config of its trial and reports a dictionary of metrics. Everything below is optional. A trainable's
declarations are checked before anything starts.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from pydantic import BaseModel

CONFIG_USED = "config_used"
"""Key of a report that holds the nested config that the trainable really trains with. The search compares it with the
config that it asked for.
"""

ITERATION = "iteration"
"""Key of a report that counts training iterations. Without it, reports are counted from 1."""

DRAWS = "_draws"
"""Suffix of a metric's name. The key with this suffix holds bootstrap draws of the metric: a list of numbers, each the
score on a resampled set of examples. All trials must use the same samples. Rungs use the draws to estimate the noise of
a difference between two trials.
"""
ITERATIONS_SHARED = "iterations_shared"
"""Key of a report that holds the number of training iterations since the last report that another trial had already
trained.
"""

TOOK_EFFECT = "took_effect"
"""Prefix of a key of a report: `took_effect/PATH` holds the share of iterations since the last report in which the
config value at the dotted path had an effect. At 0, removing the limit would have changed nothing.
"""


@runtime_checkable
class DeclaresConfig(Protocol):
    """A trainable that has a pydantic model of its config. Every path of the search space is checked against it."""

    Config: type[BaseModel]


@runtime_checkable
class DeclaresMetrics(Protocol):
    """A trainable that names the metrics it reports. Every objective must be one of them, or `peak_memory_bytes`."""

    METRICS: frozenset[str]


@runtime_checkable
class HasPreflight(Protocol):
    """A trainable that can check a config's data before any trial starts."""

    @classmethod
    def preflight(cls, config: Any) -> list[str]:
        """Return notices about the data, one line each.

        Raises:
            InputError: every fault that would break a trial with this config.
        """
        ...


@runtime_checkable
class ChecksCombinations(Protocol):
    """A trainable with values that are wrong only in combination with others."""

    COMBINED: frozenset[str]
    """Dotted paths of such values. All their combinations in the search space are checked."""

    @classmethod
    def check_combination(cls, config: Any) -> None:
        """Check a config quickly.

        Raises:
            InputError: its values do not go together.
        """
        ...


class TrialCost(NamedTuple):
    """Time that a training takes on the current machine."""

    seconds_per_iteration: float
    seconds_per_report: float
    """Time for scoring and for writing the checkpoint."""
    iterations_per_report: int


@runtime_checkable
class MeasuresCost(Protocol):
    """A trainable that can measure its cost before its first report."""

    @classmethod
    def measure_cost(cls, config: Any) -> TrialCost:
        """Train a config for a few iterations, discard the result, and return the measured cost."""
        ...


@runtime_checkable
class SharesBeginning(Protocol):
    """A trainable whose first iterations may be shared with other trials."""

    def share_beginning(self, folder: Path, owner: str) -> None:
        """Take up or train the shared iterations; called once, before the first step of a trial without a checkpoint.

        It is not called if the search knows that no other trial can begin in the same way.

        Args:
            folder: A folder that all trials of the run share. It is deleted once the search has finished.
            owner: The trial's name in the run.
        """
        ...


Progress = Callable[[int, int], None]
"""Function that is called with the amount of work that is done, and the whole amount."""


@runtime_checkable
class Evaluates(Protocol):
    """A trainable that can score a checkpoint. The command `evaluate` and a confirmation on test examples need it.

    A minimal implementation:

        EVALUATED = frozenset({"accuracy"})

        @classmethod
        def evaluate(cls, config, checkpoint, split, progress):
            model = pickle.loads((checkpoint / "model.pkl").read_bytes())
            return {"accuracy": model.score(*read_examples(config, split))}
    """

    EVALUATED: frozenset[str]
    """Names of the numbers that `evaluate` returns. They mean the same as in a report."""

    @classmethod
    def evaluate(cls, config: Any, checkpoint: Path, split: str, progress: Progress) -> Mapping[str, Any]:
        """Score a checkpoint on all examples of a split.

        Args:
            config: The config that the checkpoint was trained with.
            checkpoint: Its folder.
            split: Name of the split, such as `val` or `test`.
            progress: May be called with the number of examples that are scored, and of all.

        Returns:
            A number for every name in `EVALUATED`. A list of numbers may be among them, as in a report.

        Raises:
            InputError: the folder holds no checkpoint of this config, or the split cannot be read.
        """
        ...


@runtime_checkable
class ChecksSplit(Protocol):
    """A trainable that can check a split before anything is scored on it.

    A minimal implementation:

        @classmethod
        def check_split(cls, config, split):
            if not Path(config.folder, split).is_dir():
                raise InputError([Fault(config.folder, f"has no {split}/", "make one, or score on val")])
            return []
    """

    @classmethod
    def check_split(cls, config: Any, split: str) -> list[str]:
        """Return notices about a split, one line each.

        Raises:
            InputError: every fault that would keep the split from being scored.
        """
        ...


@runtime_checkable
class HasSeed(Protocol):
    """A config that holds the seed of its training. A confirmation trains it with several.

    A minimal implementation, for a config with a field `seed`:

        def with_seed(self, seed):
            return self.model_copy(update={"seed": seed})
    """

    def with_seed(self, seed: int) -> Self:
        """Return the config with another seed."""
        ...


@runtime_checkable
class HasSharedValues(Protocol):
    """A config whose training may begin with other values than it continues with."""

    def with_shared_values(self, values: Mapping[str, Any]) -> "HasSharedValues":
        """Return the config with the search's base values, by dotted path, filled in for the shared iterations."""
        ...


@runtime_checkable
class HasUnused(Protocol):
    """A config that knows which of its values are unused."""

    def unused(self) -> dict[str, str]:
        """Return the dotted path of every unused value or section, with the reason."""
        ...


@runtime_checkable
class HasWarmup(Protocol):
    """A config whose training changes its loss after a number of iterations. No rung may lie before that."""

    def warmup_end(self) -> int:
        """Return the iteration at which the last part of the loss begins."""
        ...


@runtime_checkable
class HasThreads(Protocol):
    """A config that holds the number of CPU threads, which is part of the result."""

    def with_threads(self, num_threads: int) -> "HasThreads":
        """Return the config with this number of threads filled in, unless it gives one."""
        ...


@runtime_checkable
class HasMemoryEstimate(Protocol):
    """A config that can estimate its peak memory, so that a trial that would not fit need not be started."""

    def memory_estimate(self) -> tuple[str, float]:
        """Return a name, and a number that grows about linearly with the peak memory of all configs of that name.

        The number may have any unit: the search learns its scale from measured peaks. Use one name for everything that
        has the same scale, for example for one network.
        """
        ...


@runtime_checkable
class HasBudget(Protocol):
    """A config that knows its full budget in iterations."""

    def max_iters(self) -> int:
        """Return the full budget."""
        ...


@runtime_checkable
class HasMetricEntries(Protocol):
    """A config that knows what the numbers of a reported list stand for, so that a constraint may name one of them."""

    def metric_entries(self) -> dict[str, tuple[str, ...]]:
        """Return the name of every list of a report, with the names of its numbers."""
        ...
