"""Grid search: every combination of values of a finite space, once."""

from collections.abc import Iterator, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from raysearch.algorithms.history_sampler import HistorySampler, Question
from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.space.parameters import Parameter, identity


class CombinationsSampler(HistorySampler):
    """Every combination of a finite space once, in the order of the parameters, then random draws.

    Optuna's own `GridSampler` does not support conditions, and its `BruteForceSampler` tries the combinations in random
    order. In a study of Optuna, a number without steps is drawn at random.
    """

    _knows_several_objectives = True

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that all trials share and that have finitely many values."""
        shared = super().infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in shared.items() if _grid_of(distribution) is not None}

    def propose(self, question: Question) -> dict[str, Any] | None:
        """Return the first untried combination that may be started; None if there is none."""
        paths = {parameter.path for parameter in question.space.parameters}
        tried = {
            identity({path: value for path, value in trial.values.items() if path in paths})
            for trial in question.history.trials
            if not trial.is_default
        }
        untried = (values for values in combinations(question.space) if identity(values) not in tried)
        return next(filter(question.may_start, untried), None)


def combinations(space: SearchedSpace) -> Iterator[dict[str, Any]]:
    """Yield every combination of active values once; the first parameter of the file changes slowest.

    A parameter that comes before its gates in the file is placed right after them.
    """
    ordered = _gates_first_in_file_order(space.parameters)
    paths = [parameter.path for parameter in space.parameters]

    def extended(values: dict[str, Any], rest: Sequence[Parameter]) -> Iterator[dict[str, Any]]:
        if not rest:
            yield {path: values[path] for path in paths if path in values}
        elif not rest[0].active(values, space.config):
            yield from extended(values, rest[1:])
        else:
            for value in _grid_of(rest[0].distribution) or ():
                yield from extended({**values, rest[0].path: value}, rest[1:])

    return extended({}, ordered)


def is_finite(space: SearchedSpace) -> bool:
    """Return True if every parameter has finitely many values."""
    return all(_grid_of(parameter.distribution) is not None for parameter in space.parameters)


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
    """Return all values of a distribution; None if it has infinitely many."""
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
