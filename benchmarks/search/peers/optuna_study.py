"""Optuna by ask and tell, with its TPE or its Gaussian process, with or without its Hyperband pruner."""

import math

import optuna

from benchmarks.search.peers.optuna_space import suggest
from benchmarks.search.simulation import Start
from benchmarks.search.task import Task
from benchmarks.search.tools import Best, Peer, Values


class Study:
    """A study that prunes at every report; it names `Study.best_trial`, the best of the trials that completed."""

    def __init__(
        self, task: Task, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner, seed: int
    ) -> None:
        self._spec, self._max_iters = task.spec(seed), task.iterations[-1]
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=str(seed))
        self._trials: dict[int, tuple[optuna.Trial, Values]] = {}
        self._best = Best()

    def propose(self) -> Start:
        trial = self._study.ask()
        values = suggest(trial, self._spec)
        self._trials[trial.number] = trial, values
        return Start(trial.number, values)

    def report(self, trial: int, iteration: int, score: float) -> bool:
        asked, values = self._trials[trial]
        if math.isnan(score):
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            return False
        asked.report(score, iteration)
        if iteration >= self._max_iters:
            self._study.tell(asked, score)
            self._best.add(score, values)
            return False
        if asked.should_prune():
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
            return False
        return True

    def named(self) -> Values | None:
        return self._best.values


def opened(task: Task, seed: int, sampler: str, hyperband: bool) -> Peer:
    """Return a new study; TPE models parameters together, and in groups where some are conditional."""
    if sampler == "gp":
        chosen: optuna.samplers.BaseSampler = optuna.samplers.GPSampler(seed=seed)
    else:
        conditional = any("when" in words for words in task.space.values())
        chosen = optuna.samplers.TPESampler(seed=seed, multivariate=conditional, group=conditional)
    first, last = task.iterations[0], task.iterations[-1]
    pruner = optuna.pruners.HyperbandPruner(first, last) if hyperband else optuna.pruners.NopPruner()
    return Study(task, chosen, pruner, seed)
