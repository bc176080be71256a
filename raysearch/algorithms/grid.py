"""Grid search, and the combinations of a space with finitely many values: every one once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.space.parameters import Parameter
from raysearch.space.spec import SearchSpec


def suggest(spec: SearchSpec, may_start: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any] | None:
    """Return the first combination that may be started; None when there is none."""
    return next(filter(may_start, combinations(spec)), None)


def combinations(spec: SearchSpec) -> Iterator[dict[str, Any]]:
    """Yield every combination of active values once, the first parameter of the file changing slowest.

    A parameter that comes before its gates in the file changes right after them.
    """
    ordered = _gates_first_in_file_order(spec.parameters)
    paths = [parameter.path for parameter in spec.parameters]

    def extended(values: dict[str, Any], rest: Sequence[Parameter]) -> Iterator[dict[str, Any]]:
        if not rest:
            yield {path: values[path] for path in paths if path in values}
        elif not rest[0].active(values, spec.config):
            yield from extended(values, rest[1:])
        else:
            for value in _grid_of(rest[0].distribution) or ():
                yield from extended({**values, rest[0].path: value}, rest[1:])

    return extended({}, ordered)


def is_finite(spec: SearchSpec) -> bool:
    """Return True if every parameter has finitely many values."""
    return all(_grid_of(parameter.distribution) is not None for parameter in spec.parameters)


def _gates_first_in_file_order(parameters: Sequence[Parameter]) -> list[Parameter]:
    searched = {parameter.path for parameter in parameters}
    waiting = list(parameters)
    ordered: list[Parameter] = []
    while waiting:
        placed = {parameter.path for parameter in ordered}
        ready = next(p for p in waiting if placed >= searched & set(p.when))
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def _grid_of(distribution: BaseDistribution) -> Sequence[Any] | None:
    """Return all values of a distribution; None where they are not finitely many."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices
        case IntDistribution(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case FloatDistribution(low=low, high=high, step=float(step)):
            return [min(low + step * i, high) for i in range(round((high - low) / step) + 1)]
        case FloatDistribution(low=low, high=high) if low == high:
            return [low]
    return None
