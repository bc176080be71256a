"""A checked search: its base config, its searched values, its objectives and its settings."""

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
    """A checked search."""

    name: str
    trainable: LoadedTrainable
    config: dict[str, Any]
    """Nested base config; complete and with absolute paths if the trainable has a config model."""
    parameters: tuple[Parameter, ...]
    """Parameters in the order of the file."""
    objectives: tuple[Objective, ...]
    """Objectives; the first one is used wherever a single number is needed."""
    search: SearchSettings
    scheduler: SchedulerSettings
    resources: ResourceSettings
    document: dict[str, Any]
    """The space file as it runs: overrides applied, config complete, paths absolute; loading it gives an equal spec."""
    max_iters: int | None
    """Full budget of a trial in iterations; None if it is unknown."""
    grace_iters: int | None
    """Iteration of the first rung, with `grace_iters: auto` the earliest possible one; None without early stopping."""
    constraints: tuple[Constraint, ...] = ()
    track: TrackSettings = field(default_factory=TrackSettings)
    """Trackers that record the search."""
    notices: tuple[str, ...] = field(default=(), compare=False)
    """Remarks about the config, one line each."""

    @cached_property
    def parameters_in_order(self) -> tuple[Parameter, ...]:
        """Parameters with every gate before the parameters that depend on it."""
        return gates_first(self.parameters)

    def trial_config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the nested config of a trial: the base config with values set at dotted paths.

        If trials share their first iterations, these use the base config's values at all searched paths. The values are
        then written into every trial's config, the default's included. Replacing the searched values of one trial's
        config by another's therefore gives the other's config.

        Raises:
            InputError: a path does not exist, or the values violate a rule of the config.
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
        """Return the name and the size of the trial config's memory estimate (`HasMemoryEstimate`), if it has one."""
        model = self.trainable.config_model
        if model is None or not issubclass(model, HasMemoryEstimate):
            return None
        try:
            config = model.model_validate(with_values(self.config, values), by_name=True)
        except ValidationError:
            return None  # the trial itself reports the fault
        name, amount = config.memory_estimate()
        return name, float(amount)

    def default_values(self) -> dict[str, Any]:
        """Return the base config's values at the searched paths, without those that it does not contain."""
        found = {parameter.path: lookup(self.config, parameter.path) for parameter in self.parameters}
        return {path: value for path, value in found.items() if value is not ABSENT}

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Return True if searched values satisfy every constraint on config values."""
        on_values = (constraint for constraint in self.constraints if not constraint.is_on_reports)
        return all(constraint.violation(self._value_of(values)) <= 0.0 for constraint in on_values)

    def violations(self, values: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, float]:
        """Return the violation of every constraint on metrics, by its text; at most 0 if it is satisfied.

        Args:
            values: The trial's searched values.
            reported: All metrics of the report, the objective included.
        """
        on_reports = (constraint for constraint in self.constraints if constraint.is_on_reports)
        return {c.text: c.violation(self._value_of(values), reported) for c in on_reports}

    def _value_of(self, values: Mapping[str, Any]) -> Callable[[str], Any]:
        return lambda path: values[path] if path in values else lookup(self.config, path)

    @cached_property
    def objective_entries(self) -> dict[str, Entry]:
        """Entries of reported lists that are objectives, by the objective's name."""
        entries = self.metric_entries()
        found = {one.metric: entry_of(one.metric, self.trainable.metrics, entries) for one in self.objectives}
        return {metric: entry for metric, entry in found.items() if entry is not None}

    def metric_entries(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the entries of every reported list, by the list's name, if the config knows them."""
        return entries_of(self.trainable.config_model, self.config)

    def sha256(self) -> str:
        """Return the SHA-256 of the space file as it runs, which is that of `space.yaml` in the folder of a run."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the space file as it runs."""
        return dump(self.document)


def entries_of(model: type[BaseModel] | None, config: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    """Return the names of the entries of every list that trials report, by the list's name, if the config has them."""
    validated = None if model is None else model.model_validate(config, by_name=True)
    return validated.metric_entries() if isinstance(validated, HasMetricEntries) else {}
