"""Searches written down by hand, without a journal."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.journal import History, Mode, Report, Status, TrialHistory

SPACE: dict[str, BaseDistribution] = {
    "optim.lr": FloatDistribution(0.001, 0.1, log=True),
    "views": IntDistribution(0, 10),
    "memory": CategoricalDistribution([True, False]),
    "memory_size": IntDistribution(100, 1000),
}


def trial(
    values: Mapping[str, Any],
    curve: Mapping[int, float] | Sequence[float] = (),
    status: Status = "completed",
    *,
    error: str | None = None,
    is_default: bool = False,
    metrics: Mapping[str, Any] | None = None,
    space: Mapping[str, BaseDistribution] = SPACE,
) -> TrialHistory:
    """A trial; a curve without iterations counts from 1."""
    points = curve if isinstance(curve, Mapping) else dict(enumerate(curve, start=1))
    distributions = {path: space[path] for path in values if path in space}
    return TrialHistory(
        number=-1,
        params={path: values[path] for path in distributions},
        values=dict(values),
        distributions=distributions,
        started=1_795_416_629.0,
        is_default=is_default,
        reports={i: Report(i, value, metrics or {}, None, 1.5, False) for i, value in points.items()},
        status=status,
        error=error,
    )


def history_of(*trials: TrialHistory, mode: Mode = "max", target: int | None = None) -> History:
    """The trials, numbered in their order."""
    history = History()
    history.mode, history.name = mode, "by hand"
    history.target_trials = len(trials) if target is None else target
    for number, one in enumerate(trials):
        one.number = number
        history.trials.append(one)
    return history
