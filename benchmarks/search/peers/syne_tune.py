"""Syne Tune's ASHACQR and BOHB, called in the same order as by its tuner.

It has no conditions: all values are proposed, and those that are not active are left out of the training.
"""

import datetime
import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer import baselines

from benchmarks.search.simulation import Start
from benchmarks.search.task import METRIC, Task
from benchmarks.search.tools import Best, Peer, Values
from raysearch.algorithms.unit_cube import active_values


class SyneTune:
    """A scheduler of Syne Tune; it names `Tuner.best_config()`, the config of the best result of any trial."""

    def __init__(self, task: Task, seed: int, scheduler: str) -> None:
        self._spec = task.spec(seed)
        self._scheduler = getattr(baselines, scheduler)(
            config_space={p.path: _domain(p.distribution) for p in self._spec.parameters},
            metric=METRIC,
            time_attr="iteration",
            max_t=task.iterations[-1],
            do_minimize=False,
            random_seed=seed,
            grace_period=task.iterations[0],
        )
        self._trials: list[Trial] = []
        self._best = Best()

    def propose(self) -> Start:
        number = len(self._trials)
        suggestion = self._scheduler.suggest()
        trial = Trial(number, suggestion.config, datetime.datetime.now())
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return Start(number, self._values(trial))

    def report(self, trial: int, iteration: int, score: float) -> bool:
        if math.isnan(score):
            self._scheduler.on_trial_error(self._trials[trial])
            return False
        self._best.add(score, self._values(self._trials[trial]))
        decision = self._scheduler.on_trial_result(self._trials[trial], {METRIC: score, "iteration": iteration})
        if decision != "CONTINUE":
            self._scheduler.on_trial_remove(self._trials[trial])
        return bool(decision == "CONTINUE")

    def named(self) -> Values | None:
        return self._best.values

    def _values(self, trial: Trial) -> dict[str, Any]:
        return active_values(self._spec, trial.config)


def _domain(distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return config_space.choice(list(choices))
        case IntDistribution(low=low, high=high, log=log):
            return (config_space.lograndint if log else config_space.randint)(low, high)
        case FloatDistribution(low=low, high=high, log=log):
            return (config_space.loguniform if log else config_space.uniform)(low, high)
    raise AssertionError(f"unknown distribution {distribution}")


def opened(task: Task, seed: int, scheduler: str) -> Peer:
    """Return a new search."""
    return SyneTune(task, seed, scheduler)
