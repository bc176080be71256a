"""Search algorithms: what to try next, as a function of the seed and the history alone.

None keeps state between two suggestions, so a resumed search goes on as if it had never stopped.
"""

from typing import Any

import numpy as np

from raysearch.algorithms import cma_es, grid, optuna_samplers, quasi_random
from raysearch.journal import History
from raysearch.space import SearchSpec

_MAX_REDRAWS = 50
"""Draws after which a space is taken to hold nothing that was not tried."""


def suggest(spec: SearchSpec, history: History, number: int) -> dict[str, Any] | None:
    """The searched values of trial `number`, by dotted path; None when the space holds nothing untried.

    A trial is a function of its config, so a config that was tried already is drawn again, the later draws at random.
    """
    tried = [trial.values for trial in history.trials]
    if spec.search.algorithm == "grid":
        return grid.suggest(spec, tried)
    for redraw in range(_MAX_REDRAWS):
        seed = int(np.random.SeedSequence([spec.search.seed, number, redraw]).generate_state(1)[0])
        if redraw < _MAX_REDRAWS // 2:
            values = _draw(spec, history, number + redraw, seed)
        else:
            values = optuna_samplers.suggest_at_random(spec, seed)
        if values not in tried:
            return values
    return None


def _draw(spec: SearchSpec, history: History, index: int, seed: int) -> dict[str, Any]:
    match spec.search.algorithm:
        case "tpe":
            return optuna_samplers.suggest_by_tpe(spec, history, seed)
        case "gp":
            return optuna_samplers.suggest_by_gp(spec, history, seed)
        case "cmaes":
            return cma_es.suggest(spec, history, seed)
        case "qmc":
            return quasi_random.suggest(spec, index)
        case _:
            return optuna_samplers.suggest_at_random(spec, seed)
