"""The searches that are compared, each driven through the same objects as by its own loop.

All use the space, the metric, the full budget, the first rung and the reduction factor of raysearch. All other settings
are their defaults.
"""

import datetime
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from benchmarks.replay.simulator import Start, Tool
from raysearch.algorithms.unit_cube import from_unit
from raysearch.history.events import Report
from raysearch.history.journal import Journal
from raysearch.results.expectation import Expectation, expectations
from raysearch.schedulers import Decision
from raysearch.search.loop import SearchLoop
from raysearch.search.search import Proposal, Search
from raysearch.search.work import Assignment
from raysearch.space.spec import SearchSpec

METRIC = "miou"

optuna.logging.set_verbosity(optuna.logging.ERROR)
logging.getLogger("syne_tune").setLevel(logging.ERROR)


class Ours:
    """raysearch with its defaults; it starts with the default config."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._loop = SearchLoop(search, _assignment, watch=lambda changed: None)
        self._num_completed = 0
        self._expected: Expectation | None = None

    def propose(self) -> Start | None:
        assignment = self._loop.next()
        if assignment is None:
            return None
        values = self._search.history.trials[assignment.number].values
        return Start(assignment.number, values, max((r[0] for r in assignment.reports), default=0))

    def report(self, trial: int, iteration: int, score: float, seconds: float) -> bool:
        report = Report(iteration, score, {}, f"checkpoint-{iteration}", seconds, done=False)
        return self._loop.take(trial, report) is Decision.CONTINUE

    def incumbent(self) -> Mapping[str, Any] | None:
        """Return the config that `confirm` would retrain first: the best expected score, or else the best score."""
        num_completed = sum(trial.status == "completed" for trial in self._search.history.trials)
        if num_completed != self._num_completed:
            self._num_completed = num_completed
            self._expected = next(iter(expectations(self._search.spec, self._search.history)), None)
        best = self._expected.trial if self._expected else self._search.history.best_trial()
        return None if best is None else best.values


def _assignment(proposal: Proposal) -> Assignment:
    return Assignment(proposal.number, "", {}, Path(), None, proposal.restorable)


class OursByScore(Ours):
    """raysearch that names the config with the best score, as `best_config.json` does before `confirm`."""

    def incumbent(self) -> Mapping[str, Any] | None:
        best = self._search.history.best_trial()
        return None if best is None else best.values


class Tune:
    """Ray Tune: a searcher and a scheduler, called in the same order as by its controller."""

    def __init__(self, searcher: Searcher, scheduler: FIFOScheduler) -> None:
        self._searcher = searcher
        self._scheduler = scheduler
        self._values: dict[str, Mapping[str, Any]] = {}
        self._last: dict[str, float] = {}

    def propose(self) -> Start:
        number = len(self._values)
        name = str(number)
        self._values[name] = values = self._searcher.suggest(name)
        self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))
        return Start(number, values)

    def report(self, trial: int, iteration: int, score: float, seconds: float) -> bool:
        name = str(trial)
        if math.isnan(score):
            self._scheduler.on_trial_error(None, SimpleNamespace(trial_id=name))
            self._searcher.on_trial_complete(name, error=True)
            return False
        self._last[name] = score
        result = {METRIC: score, "training_iteration": iteration}
        decision = self._scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), result)
        if decision == TrialScheduler.STOP:
            self._searcher.on_trial_complete(name, result)
            return False
        self._searcher.on_trial_result(name, result)
        return True

    def incumbent(self) -> Mapping[str, Any] | None:
        """Return the config of `ResultGrid.get_best_result()`: the best last result of any trial."""
        return self._values[max(self._last, key=lambda name: self._last[name])] if self._last else None


class UniformDraws(Searcher):
    """Independent uniform draws on each value's own scale, as in `BasicVariantGenerator`."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._spec = spec
        self._rng = np.random.default_rng(seed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {p.path: from_unit(p.distribution, float(self._rng.random())) for p in self._spec.parameters}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass


class FullBudget(FIFOScheduler):
    """A scheduler that stops a trial at its full budget."""

    def __init__(self, max_iters: int) -> None:
        super().__init__()
        self._max_iters = max_iters

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        pass

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return TrialScheduler.STOP if result["training_iteration"] >= self._max_iters else TrialScheduler.CONTINUE


class OptunaHyperband:
    """Optuna by ask and tell, with TPE and its Hyperband pruner."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        assert spec.max_iters is not None and spec.grace_iters is not None
        self._max_iters = spec.max_iters
        self._distributions = {p.path: p.distribution for p in spec.parameters}
        pruner = optuna.pruners.HyperbandPruner(spec.grace_iters, spec.max_iters, spec.scheduler.reduction_factor)
        self._study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner, study_name=str(seed)
        )
        self._trials: dict[int, optuna.Trial] = {}
        self._best: tuple[float, int] | None = None

    def propose(self) -> Start:
        trial = self._study.ask(self._distributions)
        self._trials[trial.number] = trial
        return Start(trial.number, trial.params)

    def report(self, trial: int, iteration: int, score: float, seconds: float) -> bool:
        asked = self._trials[trial]
        if math.isnan(score):
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            return False
        asked.report(score, iteration)
        if iteration >= self._max_iters:
            self._study.tell(asked, score)
            if self._best is None or score > self._best[0]:
                self._best = score, trial
            return False
        if asked.should_prune():
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
            return False
        return True

    def incumbent(self) -> Mapping[str, Any] | None:
        """Return the config of `Study.best_trial`: the best of those that were trained to the end."""
        return None if self._best is None else self._trials[self._best[1]].params


class SyneTune:
    """Syne Tune's ASHA, called in the same order as by its tuner."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        from syne_tune import config_space
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer.baselines import ASHA

        def domain(distribution: Any) -> Any:
            kind = "randint" if isinstance(distribution, IntDistribution) else "uniform"
            make = getattr(config_space, ("log" if distribution.log else "") + kind)
            return make(distribution.low, distribution.high)

        self._trial = Trial
        self._asha = ASHA(
            config_space={p.path: domain(p.distribution) for p in spec.parameters},
            metric=METRIC,
            time_attr="iteration",
            max_t=spec.max_iters,
            do_minimize=False,
            random_seed=seed,
            grace_period=spec.grace_iters,
            reduction_factor=spec.scheduler.reduction_factor,
        )
        self._trials: dict[int, Any] = {}
        self._best: tuple[float, int] | None = None

    def propose(self) -> Start:
        number = len(self._trials)
        suggestion = self._asha.suggest()
        self._trials[number] = self._trial(number, suggestion.config, datetime.datetime.now())
        self._asha.on_trial_add(self._trials[number])
        return Start(number, suggestion.config)

    def report(self, trial: int, iteration: int, score: float, seconds: float) -> bool:
        if math.isnan(score):
            self._asha.on_trial_error(self._trials[trial])
            return False
        if self._best is None or score > self._best[0]:
            self._best = score, trial
        decision = self._asha.on_trial_result(self._trials[trial], {METRIC: score, "iteration": iteration})
        return bool(decision == "CONTINUE")

    def incumbent(self) -> Mapping[str, Any] | None:
        """Return `Tuner.best_config()`: the best result of any trial."""
        return None if self._best is None else self._trials[self._best[1]].config


def _optuna_search(spec: SearchSpec, seed: int) -> OptunaSearch:
    space = {p.path: p.distribution for p in spec.parameters}
    return OptunaSearch(space, metric=METRIC, mode="max", seed=seed)


def _stock_asha(spec: SearchSpec) -> AsyncHyperBandScheduler:
    assert spec.max_iters is not None and spec.grace_iters is not None
    return AsyncHyperBandScheduler(
        metric=METRIC,
        mode="max",
        max_t=spec.max_iters,
        grace_period=spec.grace_iters,
        reduction_factor=spec.scheduler.reduction_factor,
    )


STOCK: Mapping[str, Callable[[SearchSpec, int], Tool]] = {
    "random": lambda spec, seed: Tune(UniformDraws(spec, seed), FullBudget(spec.max_iters or 0)),
    "random + ASHA": lambda spec, seed: Tune(UniformDraws(spec, seed), _stock_asha(spec)),
    "OptunaSearch + ASHA": lambda spec, seed: Tune(_optuna_search(spec, seed), _stock_asha(spec)),
    "Optuna Hyperband": OptunaHyperband,
    "Syne Tune ASHA": SyneTune,
}
SHARING: Mapping[str, Callable[[Search], Tool]] = {"ours": Ours, "ours, by score": OursByScore}
"""Tools for which the iterations that trials share are trained once."""
OURS: Mapping[str, Callable[[Search], Tool]] = {**SHARING, "ours, sharing off": Ours}
TOOLS = (*STOCK, *OURS)

_ENDLESS = 1_000_000
"""Number of trials that a search of raysearch may start; the simulation ends it before."""


@contextmanager
def opened(name: str, spec: SearchSpec, seed: int) -> Iterator[Tool]:
    """Provide a new search by the name of its tool."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in STOCK:
            yield STOCK[name](spec, seed)
            return
        settings = spec.search.model_copy(update={"seed": seed, "trials": _ENDLESS})
        spec = SearchSpec(**{**vars(spec), "search": settings})
        with (
            mock.patch("os.fsync"),  # virtual time does not wait for a disk
            tempfile.TemporaryDirectory() as folder,
            Journal(Path(folder) / "study.journal") as journal,
        ):
            yield OURS[name](Search(spec, journal))
