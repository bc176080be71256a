"""Trials of a search that can share their first iterations, judged by the space alone."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.errors import InputError
from raysearch.space.parameters import Parameter, probes, with_gates_open
from raysearch.space.spec import SearchSpec
from trainables.protocol import NamesBeginning


def num_values(distribution: BaseDistribution) -> float:
    """Return the number of values of a distribution; infinity for a continuous range."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return len(choices)
        case IntDistribution(low=low, high=high, step=step):
            return (high - low) // step + 1
        case FloatDistribution(low=low, high=high, step=float(step)):
            return round((high - low) / step) + 1
    return math.inf


def shared_beginnings(spec: SearchSpec) -> tuple[int, int | None]:
    """Return the number of iterations that trials share, and the number of different beginnings in the space."""
    target: Any = spec.trainable.target
    if not isinstance(target, NamesBeginning):
        return 0, None
    num_groups = 1.0
    for parameter in spec.parameters_in_order:
        if _changes_beginning(spec, target, parameter):
            num_groups *= num_values(parameter.distribution)
    if not math.isfinite(num_groups):
        return 0, None
    return target.num_shared_iters(spec.trainable.config_of(spec.trial_config({}))), int(num_groups)


def may_share_beginning(spec: SearchSpec, values: Mapping[str, Any], given: Iterable[Mapping[str, Any]] = ()) -> bool:
    """Return False if no other trial of the search can share the first iterations of a trial with these values.

    This is so if the beginning depends on a value of a continuous range, from which no two draws are equal.

    Args:
        spec: The search.
        values: Searched values of the trial.
        given: Searched values of trials that are not drawn and may therefore be equal.
    """
    target: Any = spec.trainable.target
    if not isinstance(target, NamesBeginning):
        return True  # only the trainable knows
    if target.num_shared_iters(spec.trainable.config_of(spec.trial_config(values))) == 0:
        return False
    key = _key(spec, target, values)
    if any(_key(spec, target, other) == key for other in given if other != values):
        return True
    continuous = [p for p in spec.parameters if p.path in values and math.isinf(num_values(p.distribution))]
    keys = {_key(spec, target, {**values, p.path: value}) for p in continuous for _, value in probes(p.distribution)}
    return keys <= {key, None}


def _key(spec: SearchSpec, target: NamesBeginning, values: Mapping[str, Any]) -> str | None:
    """Return the key of a trial's shared iterations; None if the values violate a rule of the config."""
    try:
        return target.shared_key(spec.trainable.config_of(spec.trial_config(values)))
    except InputError:
        return None


def _changes_beginning(spec: SearchSpec, target: NamesBeginning, parameter: Parameter) -> bool:
    """Return True if another value of a parameter changes the first iterations."""
    keys = {
        _key(spec, target, with_gates_open({}, parameter, value, spec.parameters_in_order, spec.config))
        for _, value in probes(parameter.distribution)
    }
    return len(keys - {None}) > 1  # None: invalid with the base config alone; the survey found a valid config
