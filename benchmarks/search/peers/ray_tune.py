"""Ray Tune with OptunaSearch and ASHA, called in the same order as by its controller."""

import math
from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search.peers.optuna_space import suggest
from benchmarks.search.simulation import Start
from benchmarks.search.task import METRIC, Task
from benchmarks.search.tools import Peer, Values


class Tune:
    """Ray Tune; it names the config of `ResultGrid.get_best_result()`, the best last result of any trial."""

    def __init__(self, task: Task, seed: int) -> None:
        spec = task.spec(seed)

        def space(trial: optuna.Trial) -> None:
            suggest(trial, spec)

        self._spec = spec
        self._searcher = OptunaSearch(space, metric=METRIC, mode="max", seed=seed)
        self._scheduler = AsyncHyperBandScheduler(
            metric=METRIC,
            mode="max",
            max_t=task.iterations[-1],
            grace_period=task.iterations[0],
        )
        self._values: dict[str, Values] = {}
        self._last: dict[str, float] = {}

    def propose(self) -> Start:
        name = str(len(self._values))
        self._values[name] = values = self._searcher.suggest(name)
        self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))
        return Start(int(name), values)

    def report(self, trial: int, iteration: int, score: float) -> bool:
        name = str(trial)
        if math.isnan(score):
            self._scheduler.on_trial_error(None, SimpleNamespace(trial_id=name))
            self._searcher.on_trial_complete(name, error=True)
            return False
        self._last[name] = score
        result: dict[str, Any] = {METRIC: score, "training_iteration": iteration}
        decision = self._scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), result)
        if decision == TrialScheduler.STOP:
            self._searcher.on_trial_complete(name, result)
            return False
        self._searcher.on_trial_result(name, result)
        return True

    def named(self) -> Values | None:
        return self._values[max(self._last, key=lambda name: self._last[name])] if self._last else None


def opened(task: Task, seed: int) -> Peer:
    """Return a new search."""
    return Tune(task, seed)
