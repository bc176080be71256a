"""Search algorithms: which values to try next, computed from the seed and the history alone.

Each algorithm is a sampler of Optuna. Our own can be imported from this package and used in any study. None keeps state
between two proposals, so a resumed search continues as if it had never stopped.
"""

import itertools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.algorithms import optuna_samplers
from raysearch.algorithms.any_sampler import AnySampler
from raysearch.algorithms.cma_es import StatelessCmaEsSampler
from raysearch.algorithms.curve_gp import CurveGPSampler
from raysearch.algorithms.feasibility import Feasibility
from raysearch.algorithms.grid import CombinationsSampler, combinations, is_finite
from raysearch.algorithms.history_sampler import HistorySampler, Question
from raysearch.algorithms.nearby import nearest
from raysearch.algorithms.optuna_samplers import SteadyStateNSGAIISampler
from raysearch.algorithms.predicted_memory import PredictedMemory
from raysearch.algorithms.quasi_random import SobolSampler
from raysearch.history.events import SamplerNotes
from raysearch.history.history import History, TrialHistory
from raysearch.space.parameters import identity
from raysearch.space.sampler_loading import build_sampler, is_reference
from raysearch.space.spec import SearchSpec

__all__ = [
    "CombinationsSampler",
    "CurveGPSampler",
    "SobolSampler",
    "StatelessCmaEsSampler",
    "SteadyStateNSGAIISampler",
    "suggest",
]

_OWN: dict[str, type[HistorySampler]] = {
    "curve_gp": CurveGPSampler,
    "cmaes": StatelessCmaEsSampler,
    "qmc": SobolSampler,
    "grid": CombinationsSampler,
}
"""Our own algorithms by their names in a space file; all others are configured samplers of Optuna."""

_MAX_DRAWS = 25
"""Number of draws of an algorithm after which the nearest values that may be started replace its first draw."""

_NUM_FOR_TPE = 10
"""Number of ended trials from which on TPE takes turns; with fewer, it draws at random."""

_MAX_COMBINATIONS = 20_000
"""Largest number of combinations that are counted."""

_MAX_SUSPECTS = 8
"""Number of suspect draws after which the nearest values that are not suspect are tried."""


@dataclass(frozen=True)
class Suggestion:
    """The values that a trial should train with."""

    values: dict[str, Any]
    """Searched values by dotted path."""
    notes: SamplerNotes | None = None
    """Notes of a sampler that is not ours for its later proposals."""


def suggest(spec: SearchSpec, history: History, number: int) -> dict[str, Any] | None:
    """Return the searched values of trial `number` by dotted path, without the notes of `suggest_with_notes`."""
    suggestion = suggest_with_notes(spec, history, number)
    return None if suggestion is None else suggestion.values


def suggest_with_notes(spec: SearchSpec, history: History, number: int) -> Suggestion | None:
    """Return the values that trial `number` should train with; None if no values were found that may be started.

    Values may be started if they satisfy the constraints on searched values, are predicted to fit into memory and were
    not tried before: a trial is a function of its config, so a repetition would give the same result. The algorithm
    draws again until its draw may be started and is not suspect; a draw that is probably infeasible is suspect
    (`feasibility.py`).

    If all draws are suspect, the first one is replaced by the nearest values that may be started and are not suspect
    (`nearby.py`). A finite space is searched to its last values. Grid search does not use nearby values.
    """
    reference = spec.search.algorithm
    if not is_reference(reference):
        values = _first_fit(spec, history, number, lambda question: _draw(spec, question))
        return None if values is None else Suggestion(values)
    seed = Question(spec, history, number).seed(spec.search.seed)
    sampler = AnySampler(build_sampler(reference, spec.search.algorithm_args, seed), spec, history)
    values = _first_fit(spec, history, number, lambda _: sampler.propose())
    return None if values is None else Suggestion(values, sampler.notes(values))


def num_startable(spec: SearchSpec, wanted: int) -> int:
    """Return the number of trials that a search can start: `wanted`, or fewer if a finite space has fewer configs.

    Combinations that break a constraint between searched values do not count. The default config counts, even if it
    lies outside the space.
    """
    if not is_finite(spec):
        return wanted
    has_default = spec.trainable.config_model is not None
    default = {p.path: spec.default_values().get(p.path) for p in spec.parameters if p.active({}, spec.config)}
    found = {identity(default)} if has_default else set()
    for values in itertools.islice(combinations(spec), _MAX_COMBINATIONS):
        if len(found) >= wanted:
            return wanted
        if spec.allows(values):
            found.add(identity(values))
    return min(wanted, len(found))


def _first_fit(
    spec: SearchSpec, history: History, number: int, draw: Callable[[Question], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Return the first draw that may be started and is not suspect, or its replacement."""
    tried = history.index(_Tried, spec)
    memory = PredictedMemory(spec, history)

    def may_start(values: Mapping[str, Any]) -> bool:
        return values not in tried and spec.allows(values) and memory.fits(values)

    if spec.search.algorithm == "grid":
        return draw(Question(spec, history, number, may_start=may_start))
    feasibility = Feasibility(spec, history)
    rejected: list[dict[str, Any]] = []
    num_suspects, num_too_large = 0, 0
    for redraw in range(_MAX_DRAWS):
        num_rejected = num_suspects + num_too_large
        values = draw(Question(spec, history, number, redraw, num_rejected, may_start))
        if values is None:
            continue
        rejected.append(values)
        if not may_start(values):
            num_too_large += values not in tried and spec.allows(values)
            continue
        if feasibility.doubt(values) <= 0.0:
            return values
        num_suspects += 1
        if num_suspects == _MAX_SUSPECTS:
            break
    seed = Question(spec, history, number, redraw=_MAX_DRAWS).seed(spec.search.seed)
    wished = rejected[0] if rejected else optuna_samplers.suggest_at_random(spec, seed)
    return nearest(spec, wished, seed, may_start, feasibility.doubt)


def _draw(spec: SearchSpec, question: Question) -> dict[str, Any] | None:
    algorithm, history, seed = spec.search.algorithm, question.history, question.seed(spec.search.seed)
    if algorithm == "auto":
        algorithm = _by_turns(question) if len(spec.objectives) == 1 else "tpe"
    if algorithm in _OWN:
        return _OWN[algorithm](spec.search.seed).propose(question)
    match algorithm:
        case "tpe":
            return optuna_samplers.suggest_by_tpe(spec, history, seed)
        case "gp":
            return optuna_samplers.suggest_by_gp(spec, history, seed)
        case "nsga2":
            return optuna_samplers.suggest_by_nsga2(spec, history, seed)
    return optuna_samplers.suggest_at_random(spec, seed)


def _by_turns(question: Question) -> str:
    """Return the algorithm whose turn it is: every second trial is proposed by TPE, the others by the model of curves.

    Where the model fits badly, for example because scores jump or do not depend on most values, it tries the same
    region again and again. TPE does not. Until TPE has enough trials, all proposals are spread evenly.
    """
    ended = (trial for trial in question.history.known_trials if trial.effective_status != "running")
    are_enough = next(itertools.islice(ended, _NUM_FOR_TPE - 1, None), None) is not None
    return "tpe" if question.number % 2 == 0 and are_enough else "curve_gp"


class _Tried:
    """An index of a history: the values that trials of the search have had."""

    def __init__(self, history: History, spec: SearchSpec) -> None:
        self._used_by_default = [parameter.path for parameter in spec.parameters if parameter.active({}, spec.config)]
        self._known: set[Hashable] = set()
        self._taken: set[tuple[int, bool]] = set()
        """Number of every trial that has been taken in, and whether it was the default trial."""

    def __contains__(self, values: Mapping[str, Any]) -> bool:
        return identity(values) in self._known

    def take(self, trial: TrialHistory) -> None:
        """Take in a trial of the search, without values that the default trial records but does not use."""
        if trial.number < 0 or (trial.number, trial.is_default) in self._taken:
            return
        self._taken.add((trial.number, trial.is_default))
        paths = self._used_by_default if trial.is_default else trial.values
        self._known.add(identity({path: trial.values[path] for path in paths if path in trial.values}))
