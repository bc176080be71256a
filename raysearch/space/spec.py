"""A whole search, checked: what is fixed, what is searched, for what, by what means."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList
from raysearch.config.strict_yaml import dump
from raysearch.config.trainable_loading import LoadedTrainable
from raysearch.config.values import dumped
from raysearch.history.metric_names import Entry, entry_of
from raysearch.space.constraints import Constraint
from raysearch.space.parameters import Parameter, gates_first
from raysearch.space.settings import Objective, ResourceSettings, SchedulerSettings, SearchSettings
from raysearch.space.track_settings import TrackSettings
from trainables.dotted_paths import ABSENT, lookup, with_values
from trainables.protocol import HasMemoryEstimate, HasMetricEntries, HasSharedValues


@dataclass(frozen=True)
class SearchSpec:
    """A whole search, checked."""

    name: str
    trainable: LoadedTrainable
    config: dict[str, Any]
    """The nested base config; complete, with absolute paths, where the trainable has a config model."""
    parameters: tuple[Parameter, ...]
    """In the order of the file."""
    objectives: tuple[Objective, ...]
    """The first is the main one: where one number is needed, it is that."""
    search: SearchSettings
    scheduler: SchedulerSettings
    resources: ResourceSettings
    document: dict[str, Any]
    """The space file as run: overrides applied, the config whole, paths absolute; it loads again to an equal spec."""
    max_iters: int | None
    """The full budget of a trial in iterations, where it is known."""
    grace_iters: int | None
    """The first rung, or with `grace_iters: auto` the earliest there may be; none without early stopping."""
    constraints: tuple[Constraint, ...] = ()
    track: TrackSettings = field(default_factory=TrackSettings)
    """Where else the search is recorded."""
    notices: tuple[str, ...] = field(default=(), compare=False)
    """What is worth knowing of the config, one line each."""

    @cached_property
    def parameters_in_order(self) -> tuple[Parameter, ...]:
        """The parameters with every gate before what it gates."""
        return gates_first(self.parameters)

    def trial_config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The nested config of a trial: the base config with values set at dotted paths.

        Where the config has shared iterations, the base's own values at all searched paths hold in them and are written
        out, in the default's config too: setting another trial's values in it gives that trial's config.

        Raises:
            InputError: a path does not exist, or the values break a rule of the config.
        """
        faults = FaultList(f"a trial of {self.name}")
        tree = ConfigTree(self.trainable.config_model)
        for path in values:
            wrong = tree.misnamed(path)
            if wrong:
                faults.add((), *wrong)
        config = with_values(self.config, values)
        validated = tree.validate(config, (), faults)
        faults.raise_any(config)
        if validated is None:
            return config
        if isinstance(validated, HasSharedValues):
            shared = validated.with_shared_values(self.default_values())
            assert isinstance(shared, BaseModel), "with_shared_values returns the config it was asked of"
            validated = shared
        return dumped(validated)

    def memory_estimate(self, values: Mapping[str, Any]) -> tuple[str, float] | None:
        """What the config of a trial says that its memory grows with (`HasMemoryEstimate`); None where it does not."""
        model = self.trainable.config_model
        if model is None or not issubclass(model, HasMemoryEstimate):
            return None
        try:
            config = model.model_validate(with_values(self.config, values), by_name=True)
        except ValidationError:
            return None  # its trial tells what is wrong
        name, amount = config.memory_estimate()
        return name, float(amount)

    def default_values(self) -> dict[str, Any]:
        """The base config's own values at the searched paths; without those that it does not hold."""
        found = {parameter.path: lookup(self.config, parameter.path) for parameter in self.parameters}
        return {path: value for path, value in found.items() if value is not ABSENT}

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Whether searched values hold every constraint that the config alone decides."""
        on_values = (constraint for constraint in self.constraints if not constraint.is_on_reports)
        return all(constraint.violation(self._value_of(values)) <= 0.0 for constraint in on_values)

    def violations(self, values: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, float]:
        """Every constraint that a report decides, in words -> by how much it is violated; at most 0 where it holds.

        Args:
            values: The trial's searched values.
            reported: All metrics of the report, the objective's among them.
        """
        on_reports = (constraint for constraint in self.constraints if constraint.is_on_reports)
        return {c.text: c.violation(self._value_of(values), reported) for c in on_reports}

    def _value_of(self, values: Mapping[str, Any]) -> Callable[[str], Any]:
        return lambda path: values[path] if path in values else lookup(self.config, path)

    @cached_property
    def objective_entries(self) -> dict[str, Entry]:
        """The objectives that are an entry of a reported list -> which."""
        entries = self.metric_entries()
        found = {one.metric: entry_of(one.metric, self.trainable.metrics, entries) for one in self.objectives}
        return {metric: entry for metric, entry in found.items() if entry is not None}

    def metric_entries(self) -> Mapping[str, Sequence[str]]:
        """Name of every list that is reported -> the name of each of its numbers, where the config knows them."""
        return entries_of(self.trainable.config_model, self.config)

    def sha256(self) -> str:
        """SHA-256 of the space file as run: of the bytes of `space.yaml` in the folder of a run."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()

    def to_yaml(self) -> str:
        """The space file as run."""
        return dump(self.document)


def entries_of(model: type[BaseModel] | None, config: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    """Return the name of every list that a trial reports -> the names of its numbers, where its config knows them."""
    validated = None if model is None else model.model_validate(config, by_name=True)
    return validated.metric_entries() if isinstance(validated, HasMetricEntries) else {}
