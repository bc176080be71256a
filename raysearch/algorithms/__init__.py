"""Search algorithms: what to try next, as a function of the seed and the history alone.

None keeps state between two suggestions, so a resumed search goes on as if it had never stopped.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from raysearch.algorithms import cma_es, curve_gp, grid, optuna_samplers, quasi_random
from raysearch.algorithms.feasibility import Feasibility
from raysearch.algorithms.predicted_memory import PredictedMemory
from raysearch.algorithms.unit_cube import draw_at_random
from raysearch.journal import History, TrialHistory
from raysearch.space import SearchSpec

_MAX_REDRAWS = 50
"""Draws after which a space is taken to hold nothing that may be started."""

_MAX_SUSPECTS = 8
"""Suspect draws of an algorithm after which its least suspect is tried, or draws at random follow."""


def suggest(spec: SearchSpec, history: History, number: int) -> dict[str, Any] | None:
    """The searched values of trial `number`, by dotted path; None when nothing is found that may be started.

    What breaks a constraint between its values is never started, nor what is predicted not to fit into memory. A trial
    is a function of its config, so what was tried is not started again either. Such draws are drawn again, the later
    ones at random. So is a draw near a trial that was infeasible; where all draws are suspect, the least suspect is
    tried. A search that lost few trials so far leaves it at the algorithm's own draws, which lets it find an optimum at
    the very edge; one that lost many looks farther away first. A grid asks no neighbours.
    """
    tried = [_tried_values(spec, trial) for trial in history.trials]
    memory = PredictedMemory(spec, history)

    def may_start(values: Mapping[str, Any]) -> bool:
        return spec.allows(values) and memory.fits(values)

    if spec.search.algorithm == "grid":
        return grid.suggest(spec, tried, may_start)
    feasibility = Feasibility(spec, history)
    suspects: list[tuple[float, dict[str, Any]]] = []
    num_too_large = 0
    for redraw in range(_MAX_REDRAWS):
        seed = int(np.random.SeedSequence([spec.search.seed, number, redraw]).generate_state(1)[0])
        if redraw < _MAX_REDRAWS // 2 and len(suspects) < _MAX_SUSPECTS:
            values = _draw(spec, history, number + redraw, seed, len(suspects) + num_too_large)
        else:
            values = draw_at_random(spec, seed, may_start)
            if values is None:
                break
        if values is None or values in tried or not spec.allows(values):
            continue
        if not memory.fits(values):
            num_too_large += 1
            continue
        doubt = feasibility.doubt(values)
        if doubt <= 0.0:
            return values
        suspects.append((doubt, values))
        if len(suspects) == _MAX_SUSPECTS and not feasibility.cautious:
            break
    return min(suspects, key=lambda suspect: suspect[0])[1] if suspects else None


def _draw(spec: SearchSpec, history: History, index: int, seed: int, num_rejected: int) -> dict[str, Any] | None:
    algorithm = spec.search.algorithm
    if algorithm == "auto":
        algorithm = "curve_gp" if len(spec.objectives) == 1 else "tpe"
    match algorithm:
        case "tpe":
            return optuna_samplers.suggest_by_tpe(spec, history, seed)
        case "gp":
            return optuna_samplers.suggest_by_gp(spec, history, seed)
        case "nsga2":
            return optuna_samplers.suggest_by_nsga2(spec, history, seed)
        case "curve_gp":
            return curve_gp.suggest(spec, history, seed, index, num_rejected)
        case "cmaes":
            return cma_es.suggest(spec, history, seed)
        case "qmc":
            return quasi_random.suggest(spec, index - num_rejected, num_rejected)
        case _:
            return optuna_samplers.suggest_at_random(spec, seed)


def _tried_values(spec: SearchSpec, trial: TrialHistory) -> Mapping[str, Any]:
    """The values that tell a trial from others; the default trial's record also holds those that it does not use."""
    if not trial.is_default:
        return trial.values
    active = [parameter.path for parameter in spec.parameters if parameter.active({}, spec.config)]
    return {path: trial.values[path] for path in active if path in trial.values}
