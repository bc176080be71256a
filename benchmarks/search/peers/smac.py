"""SMAC3's multi-fidelity facade (Hyperband with a random forest), by ask and tell.

A config that is asked for again with a larger budget continues from its last iteration. Budgets are rounded to the next
report.
"""

import math
import tempfile
from collections.abc import Mapping
from typing import Any

from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, InCondition, Integer
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from smac import MultiFidelityFacade, Scenario
from smac.runhistory import StatusType, TrialInfo, TrialValue

from benchmarks.search.simulation import Start
from benchmarks.search.task import Task
from benchmarks.search.tools import Peer, Values
from raysearch.space.spec import SearchSpec

_NUM_TRIALS = 2000
"""Number of evaluations that SMAC is told; no search here gets that far."""


class Smac:
    """The search; it names the incumbent, the best config at the highest budget so far."""

    def __init__(self, task: Task, seed: int) -> None:
        self._iterations = task.iterations
        self._spec = task.spec(seed)
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            _space(self._spec, seed),
            deterministic=True,
            n_trials=_NUM_TRIALS,
            min_budget=task.iterations[0],
            max_budget=task.iterations[-1],
            seed=seed,
            output_directory=self._folder.name,
        )
        self._smac = MultiFidelityFacade(scenario, _never_called, overwrite=True, logging_level=False)
        self._asked: dict[int, TrialInfo] = {}
        """What was asked last of every trial."""
        self._trials: dict[Any, int] = {}
        """Trial of every config."""
        self._reached: dict[int, int] = {}
        """Iteration that every trial has reached."""

    def propose(self) -> Start | None:
        try:
            info = self._smac.ask()
        except StopIteration:
            return None
        trial = self._trials.setdefault(info.config, len(self._trials))
        self._asked[trial] = info
        return Start(trial, self._values(info.config), self._reached.get(trial, 0))

    def report(self, trial: int, iteration: int, score: float) -> bool:
        self._reached[trial] = iteration
        info = self._asked[trial]
        if math.isnan(score):
            self._smac.tell(info, TrialValue(cost=math.inf, status=StatusType.CRASHED), save=False)
            return False
        assert info.budget is not None, "the facade gives every trial a budget"
        if iteration < info.budget - 1e-6:
            return True
        self._smac.tell(info, TrialValue(cost=-score), save=False)
        return False

    def named(self) -> Values | None:
        incumbents = self._smac.intensifier.get_incumbents()
        return self._values(incumbents[0]) if incumbents else None

    def _values(self, config: Mapping[str, Any]) -> Values:
        """Return the values in the order of the space; choices are told to SMAC by their places."""
        values = {}
        for parameter in self._spec.parameters:
            if parameter.path in config:
                value = config[parameter.path]
                match parameter.distribution:
                    case CategoricalDistribution(choices=choices):
                        values[parameter.path] = choices[int(value)]
                    case IntDistribution():
                        values[parameter.path] = int(value)
                    case _:
                        values[parameter.path] = float(value)
        return values


def _never_called(config: Any, seed: int = 0, budget: float = 0.0) -> float:
    raise AssertionError("trials are told")


def _space(spec: SearchSpec, seed: int) -> ConfigurationSpace:
    space = ConfigurationSpace(seed=seed)
    found: dict[str, Any] = {}
    for parameter in spec.parameters:
        path = parameter.path
        match parameter.distribution:
            case CategoricalDistribution(choices=choices):
                found[path] = Categorical(path, list(range(len(choices))))
            case IntDistribution(low=low, high=high, log=log):
                found[path] = Integer(path, (low, high), log=log)
            case FloatDistribution(low=low, high=high, log=log):
                found[path] = Float(path, (low, high), log=log)
    space.add(list(found.values()))
    for parameter in spec.parameters:
        for gate, allowed in parameter.when.items():
            distribution = next(p.distribution for p in spec.parameters if p.path == gate)
            wanted = list(allowed) if isinstance(allowed, list | tuple) else [allowed]
            if isinstance(distribution, CategoricalDistribution):
                wanted = [distribution.choices.index(value) for value in wanted]
            child, parent = found[parameter.path], found[gate]
            several = len(wanted) > 1
            space.add(InCondition(child, parent, wanted) if several else EqualsCondition(child, parent, wanted[0]))
    return space


def opened(task: Task, seed: int) -> Peer:
    """Return a new search."""
    return Smac(task, seed)
