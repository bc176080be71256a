"""Random search: independent uniform draws on each value's own scale, each trained to the full budget."""

import numpy as np

from benchmarks.search.simulation import Start
from benchmarks.search.task import Task, values_at
from benchmarks.search.tools import Best, Peer, Values


class RandomSearch:
    """Random search; it names the best final score."""

    def __init__(self, task: Task, seed: int) -> None:
        self._spec, self._max_iters = task.spec(seed), task.iterations[-1]
        self._rng = np.random.default_rng(seed)
        self._values: list[Values] = []
        self._best = Best()

    def propose(self) -> Start:
        values = values_at(self._spec, self._rng.random(len(self._spec.parameters)))
        self._values.append(values)
        return Start(len(self._values) - 1, values)

    def report(self, trial: int, iteration: int, score: float) -> bool:
        if iteration == self._max_iters:
            self._best.add(score, self._values[trial])
        return True

    def named(self) -> Values | None:
        return self._best.values


def opened(task: Task, seed: int) -> Peer:
    """Return a new search."""
    return RandomSearch(task, seed)
