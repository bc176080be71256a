"""Grid search: every combination once, the first parameter of the file changing slowest."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.algorithms.unit_cube import active_values
from raysearch.space import SearchSpec


def suggest(
    spec: SearchSpec, tried: Sequence[Mapping[str, Any]], may_start: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any] | None:
    """The first combination that was not tried and may be; None when there is none."""
    paths = [parameter.path for parameter in spec.parameters]
    grids = [_grid_of(parameter.distribution) for parameter in spec.parameters]
    combinations = (dict(zip(paths, values, strict=True)) for values in itertools.product(*grids))
    active = (active_values(spec, values) for values in combinations)
    return next((values for values in active if values not in tried and may_start(values)), None)


def _grid_of(distribution: BaseDistribution) -> list[Any]:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return list(choices)
        case IntDistribution(low=low, high=high, step=step):
            return list(range(low, high + 1, step))
        case FloatDistribution(low=low, high=high, step=float(step)):
            return [min(low + step * i, high) for i in range(round((high - low) / step) + 1)]
    raise AssertionError("the space file was checked for a step")
