"""NePS's PriorBand with its default base, Hyperband, by ask and tell. It gets no prior, as no other tool does.

A config that is asked for again at a higher fidelity continues from its last iteration. No conditions are stated: all
values are proposed, and those that are not active are left out of the training.
"""

import math
from typing import Any

import neps
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from benchmarks.search.simulation import Start
from benchmarks.search.task import Task
from benchmarks.search.tools import Best, Peer, Values
from raysearch.algorithms.unit_cube import active_values

_FIDELITY = "fidelity"


class PriorBand:
    """The search; it names the best config at the highest fidelity that any config has reached."""

    def __init__(self, task: Task, seed: int) -> None:
        self._spec = task.spec(seed)
        neps_space = {f"p{i}": _domain(p.distribution) for i, p in enumerate(self._spec.parameters)}
        fidelity = neps.IntegerFidelity(task.iterations[0], task.iterations[-1])
        space = type("Space", (neps.PipelineSpace,), {**neps_space, _FIDELITY: fidelity})()
        _seed_everything(seed)
        self._optimizer = neps.AskAndTell(neps.algorithms.priorband(space))
        self._trials: dict[str, int] = {}
        """Trial of every config, by the first part of NePS's name of it."""
        self._asked: dict[int, Any] = {}
        """What was asked last of every trial."""
        self._reached: dict[int, int] = {}
        self._best: dict[int, Best] = {}
        """Best config at every fidelity."""

    def propose(self) -> Start:
        asked = self._optimizer.ask()
        trial = self._trials.setdefault(asked.metadata.id.split("_")[0], len(self._trials))
        self._asked[trial] = asked
        return Start(trial, self._values(trial), self._reached.get(trial, 0))

    def report(self, trial: int, iteration: int, score: float) -> bool:
        self._reached[trial] = iteration
        asked = self._asked[trial]
        if math.isnan(score):
            self._optimizer.tell(asked, FloatingPointError("diverged"))
            return False
        fidelity = asked.config[_FIDELITY]
        if iteration < fidelity:
            return True
        self._optimizer.tell(asked, -score)
        self._best.setdefault(fidelity, Best()).add(score, self._values(trial))
        return False

    def named(self) -> Values | None:
        return self._best[max(self._best)].values if self._best else None

    def _values(self, trial: int) -> Values:
        config = self._asked[trial].config
        return active_values(self._spec, {p.path: config[f"p{i}"] for i, p in enumerate(self._spec.parameters)})


def _seed_everything(seed: int) -> None:
    """Seed the global generators, which NePS draws from."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def _domain(distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return neps.Categorical(tuple(choices))
        case IntDistribution(low=low, high=high, log=log):
            return neps.Integer(low, high, log=log)
        case FloatDistribution(low=low, high=high, log=log):
            return neps.Float(low, high, log=log)
    raise AssertionError(f"unknown distribution {distribution}")


def opened(task: Task, seed: int) -> Peer:
    """Return a new search."""
    return PriorBand(task, seed)
