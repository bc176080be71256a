"""Search algorithms: what to try next, as a function of the seed and the history alone.

None keeps state between two suggestions, so a resumed search goes on as if it had never stopped.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from raysearch.algorithms import cma_es, curve_gp, grid, optuna_samplers, quasi_random
from raysearch.algorithms.feasibility import Feasibility
from raysearch.algorithms.nearby import nearest
from raysearch.algorithms.predicted_memory import PredictedMemory
from raysearch.history.history import History, TrialHistory
from raysearch.space.parameters import identity
from raysearch.space.spec import SearchSpec

_MAX_DRAWS = 25
"""Draws of an algorithm of which none may be started, after which the nearest values that may be take their place."""

_MAX_SUSPECTS = 8
"""Suspect draws of an algorithm after which its least suspect is tried, or the nearest values that are not suspect."""


def suggest(spec: SearchSpec, history: History, number: int) -> dict[str, Any] | None:
    """Return the searched values of trial `number`, by dotted path; None when nothing is found that may be started.

    Values that break a constraint between them are never started, nor are those predicted not to fit into memory. A
    trial is a function of its config, so what was tried is not started again either. The algorithm then draws again,
    and so it does near a trial that was infeasible. Where all its draws are suspect, the least suspect is tried if the
    search has lost few trials so far, which lets it find an optimum at the very edge. Else the values nearest to the
    algorithm's first draw take its place that may be started and are not suspect (`nearby.py`). A finite space is
    searched to its last values. A grid asks no neighbours.
    """
    tried = {identity(_tried_values(spec, trial)) for trial in history.trials}
    memory = PredictedMemory(spec, history)

    def may_start(values: Mapping[str, Any]) -> bool:
        return identity(values) not in tried and spec.allows(values) and memory.fits(values)

    if spec.search.algorithm == "grid":
        return grid.suggest(spec, may_start)
    feasibility = Feasibility(spec, history)
    rejected: list[dict[str, Any]] = []
    suspects: list[tuple[float, dict[str, Any]]] = []
    num_too_large = 0
    for redraw in range(_MAX_DRAWS):
        seed = _seed(spec, number, redraw)
        values = _draw(spec, history, number + redraw, seed, len(suspects) + num_too_large, may_start)
        if values is None:
            continue
        rejected.append(values)
        if not may_start(values):
            num_too_large += identity(values) not in tried and spec.allows(values)
            continue
        doubt = feasibility.doubt(values)
        if doubt <= 0.0:
            return values
        suspects.append((doubt, values))
        if len(suspects) == _MAX_SUSPECTS:
            break
    if suspects and not feasibility.cautious:
        return min(suspects, key=lambda suspect: suspect[0])[1]
    seed = _seed(spec, number, _MAX_DRAWS)
    wished = rejected[0] if rejected else optuna_samplers.suggest_at_random(spec, seed)
    return nearest(spec, wished, seed, may_start, feasibility.doubt)


def _seed(spec: SearchSpec, number: int, redraw: int) -> int:
    return int(np.random.SeedSequence([spec.search.seed, number, redraw]).generate_state(1)[0])


def _draw(
    spec: SearchSpec,
    history: History,
    index: int,
    seed: int,
    num_rejected: int,
    may_start: Callable[[Mapping[str, Any]], bool],
) -> dict[str, Any] | None:
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
            return curve_gp.suggest(spec, history, seed, index, num_rejected, may_start)
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
