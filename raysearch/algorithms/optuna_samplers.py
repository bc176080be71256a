"""Samplers of Optuna; each proposal uses a new sampler and a study that is built from the history."""

import random
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from raysearch.algorithms.searched_space import SearchedSpace
from raysearch.config.choices import for_optuna, label
from raysearch.history.events import CONSTRAINT
from raysearch.history.history import History, TrialHistory
from raysearch.history.pareto import best_places
from raysearch.history.ranking import Ordered, Ranking

optuna.logging.set_verbosity(optuna.logging.WARNING)

_NUM_BEST = 25
_NUM_OTHERS = 250
"""Number of ended trials, evidence included, that a sampler sees: the best ones, and a random sample of the others.

This bounds the cost of a proposal in searches of thousands of trials; the proposals are not worse for it.
"""

_POPULATION = 8
"""Number of parents of NSGA-II, small enough for searches of some dozen trials."""


def suggest_at_random(space: SearchedSpace, seed: int) -> dict[str, Any]:
    """Return independent random values."""
    return _ask(space, optuna.create_study(sampler=RandomSampler(seed=seed)))


def suggest_by_tpe(space: SearchedSpace, history: History, seed: int) -> dict[str, Any]:
    """Return a proposal of multivariate TPE.

    With `group`, parameters that are active only under a condition have densities of their own. A stopped trial is
    passed with its learning curve. Infeasible trials are left out: `feasibility.py` avoids their surroundings, and the
    best config often lies right beside them. Running trials are handled by the constant liar. Optuna
    does not support curves of several objectives, so a stopped trial is then passed with the values that it reached.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    return _ask(space, _study(history, sampler, seed, _as_feasible))


def suggest_by_gp(space: SearchedSpace, history: History, seed: int) -> dict[str, Any]:
    """Return a proposal of Optuna's Gaussian process; stopped trials count with the best value that they reached."""
    sampler = GPSampler(seed=seed, deterministic_objective=False, warn_independent_sampling=False)
    return _ask(space, _study(history, sampler, seed, _as_gp_learns))


def suggest_by_nsga2(space: SearchedSpace, history: History, seed: int) -> dict[str, Any]:
    """Return a proposal of steady-state NSGA-II (Deb et al., 2002).

    The parents are the best of all trials that have ended. Parameters that are active only under a condition are drawn
    at random.
    """
    always = {parameter.path for parameter in space.parameters if not parameter.when}

    def as_parent(trial: TrialHistory, history: History, constraints: Sequence[str]) -> FrozenTrial | None:
        is_whole = trial.effective_status != "running" and always <= trial.params.keys()
        return _as_gp_learns(trial, history, constraints) if is_whole else None

    return _ask(space, _study(history, SteadyStateNSGAIISampler(seed), seed, as_parent))


class SteadyStateNSGAIISampler(NSGAIISampler):
    """NSGA-II that chooses the parents of every trial anew among all trials that have ended.

    Optuna's own `NSGAIISampler` stores the generations in the study. There are none if trials end out of order, or if
    the study was rebuilt from the values of trials alone.
    """

    def __init__(self, seed: int | None = None, *, population_size: int = _POPULATION) -> None:
        """Create a sampler.

        Args:
            seed: Seed of the draws.
            population_size: Number of parents, and of random trials before the first generation.
        """
        super().__init__(population_size=population_size, seed=seed)
        self._num_parents = population_size

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Return 0 (random draws) until `population_size` trials have ended, then 1."""
        return int(len(self.get_population(study, 0)) >= self._num_parents)

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Return the parents, chosen among all trials that have ended."""
        return self.select_parent(study, generation) if generation else []

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Return all trials that have ended."""
        return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _ask(space: SearchedSpace, study: optuna.Study) -> dict[str, Any]:
    return draw(space, study.ask())


def draw(space: SearchedSpace, trial: optuna.Trial) -> dict[str, Any]:
    """Return the values that an Optuna trial suggests for the active parameters."""
    drawn: dict[str, Any] = {}
    for parameter in space.parameters_in_order:
        if parameter.active(drawn, space.config):
            drawn[parameter.path] = _draw(trial, parameter.path, parameter.distribution)
    return {p.path: drawn[p.path] for p in space.parameters if p.path in drawn}


def _draw(trial: optuna.Trial, path: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(path, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(path, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            labels = [label(choice) for choice in choices]
            return choices[labels.index(trial.suggest_categorical(path, labels))]
    raise AssertionError(f"unknown distribution {distribution}")


def study_of(history: History, sampler: BaseSampler) -> optuna.Study:
    """Return a study of all trials as TPE receives them, with the notes of samplers; evidence comes first."""
    study = optuna.create_study(sampler=sampler, directions=_directions(history))
    for name, value in history.sampler_notes.items():
        study._storage.set_study_system_attr(study._study_id, name, value)
    trials = history.known_trials
    names = _constraint_names(trials)
    for trial in trials:
        told = _as_tpe_learns(trial, history, names) or _frozen(trial, TrialState.FAIL, None, {})
        told.system_attrs = {**trial.sampler_notes, **told.system_attrs}
        study.add_trial(told)
    return study


def _directions(history: History) -> list[StudyDirection]:
    return [StudyDirection.MINIMIZE if mode == "min" else StudyDirection.MAXIMIZE for mode in history.modes]


def _study(history: History, sampler: BaseSampler, seed: int, frozen: Any) -> optuna.Study:
    study = optuna.create_study(sampler=sampler, directions=_directions(history))
    trials = window(history, seed)
    names = _constraint_names(trials)
    study.add_trials([f for trial in trials if (f := frozen(trial, history, names)) is not None])
    return study


def window(history: History, seed: int) -> list[TrialHistory]:
    """Return the trials that a sampler sees, ordered by number."""
    ranking = history.index(Ranking)
    num_ended = len(ranking.ended)
    places: Sequence[int] = range(num_ended)
    if num_ended > _NUM_BEST + _NUM_OTHERS:
        others = random.Random(seed).sample(range(_NUM_BEST, num_ended), _NUM_OTHERS)
        places = [*range(_NUM_BEST), *others]
    if history.further:
        ended = _best_first(ranking.ended.at(range(num_ended)), history)
        seen = [ended[place] for place in places]
    else:
        seen = ranking.ended.at(places)
    return sorted(ranking.running + seen, key=lambda trial: trial.number)


def _best_first(ended: list[TrialHistory], history: History) -> list[TrialHistory]:
    """Return the trials of a search for several objectives, the best `_NUM_BEST` first, the others by number."""
    ended = sorted(ended, key=lambda trial: trial.number)
    admissible = [trial for trial in ended if history.is_admissible(trial)]
    losses = [history.losses(history.values_of(trial) or ()) for trial in admissible]
    best = [admissible[place] for place in best_places(losses, _NUM_BEST)]
    numbers = {trial.number for trial in best}
    return best + [trial for trial in ended if trial.number not in numbers]


def _as_tpe_learns(trial: TrialHistory, history: History, constraints: Sequence[str]) -> FrozenTrial | None:
    curve = {iteration: report.value for iteration, report in sorted(trial.reports.items())}
    violations = _violations(trial, history, constraints)
    values = history.values_of(trial)
    match trial.effective_status:
        case "running":
            return _frozen(trial, TrialState.RUNNING, None, curve)
        case "stopped" if values is not None and not history.further:
            return _frozen(trial, TrialState.PRUNED, [curve[max(curve)]], curve, violations)
        case "completed" | "stopped" if values is not None:
            return _frozen(trial, TrialState.COMPLETE, values, curve, violations)
        case "infeasible":
            return _frozen(trial, TrialState.PRUNED, None, curve, violations)
    return None


def _as_feasible(trial: TrialHistory, history: History, constraints: Sequence[str]) -> FrozenTrial | None:
    return None if trial.status == "infeasible" else _as_tpe_learns(trial, history, constraints)


def _as_gp_learns(trial: TrialHistory, history: History, constraints: Sequence[str]) -> FrozenTrial | None:
    violations = _violations(trial, history, constraints)
    values = history.values_of(trial)
    match trial.effective_status:
        case "running":
            return _frozen(trial, TrialState.RUNNING, None, {})
        case "completed" | "stopped" if values is not None:
            return _frozen(trial, TrialState.COMPLETE, values, {}, violations)
        case "infeasible":
            return _frozen(trial, TrialState.COMPLETE, history.index(_Reached).worst(), {}, violations)
    return None


class _Reached:
    """An index of a history: its trials in the order of the losses that they reached, by objective."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._by_loss: list[Ordered[float]] = [Ordered() for _ in history.modes]

    def take(self, trial: TrialHistory) -> None:
        """Take in the present state of a trial."""
        values = None if trial.status == "infeasible" else self._history.values_of(trial)
        losses = [None] * len(self._by_loss) if values is None else self._history.losses(values)
        for ordered, loss in zip(self._by_loss, losses, strict=True):
            ordered.put(trial, loss)

    def worst(self) -> list[float]:
        """Return the worst value that a feasible trial reached in each objective."""
        values = [self._history.values_of(trial) for ordered in self._by_loss for trial in ordered.latest(1)]
        return [0.0 if v is None else v[place] for place, v in enumerate(values)] or [0.0] * len(self._by_loss)


def _constraint_names(trials: Sequence[TrialHistory]) -> list[str]:
    """Return the names of all constraints that some trial could violate; samplers need the same for all trials."""
    names = [CONSTRAINT] if any(trial.status == "infeasible" for trial in trials) else []
    reports = (report for trial in trials for report in trial.reports.values())
    return [*names, *dict.fromkeys(name for report in reports for name in report.violations)]


def _violations(trial: TrialHistory, history: History, constraints: Sequence[str]) -> dict[str, float] | None:
    """Return a trial's violation of each constraint: negative if it is satisfied with room, 0 if it is unknown."""
    best = trial.best(history.mode)
    known = {CONSTRAINT: trial.violation, **(best.violations if best is not None else {})}
    return {name: known.get(name, 0.0) for name in constraints} or None


def _frozen(
    trial: TrialHistory,
    state: TrialState,
    values: Sequence[float] | None,
    curve: Mapping[int, float],
    constraints: dict[str, float] | None = None,
) -> FrozenTrial:
    now = datetime.now()
    told = _Known(
        number=-1,  # the study numbers it
        trial_id=-1,
        state=state,
        value=None,
        values=values,
        datetime_start=now,
        datetime_complete=now if state.is_finished() else None,
        params={name: label(value) for name, value in trial.params.items()},
        distributions={name: for_optuna(trial.distributions[name]) for name in trial.params},
        user_attrs={},
        system_attrs={},
        intermediate_values=dict(curve),
    )
    for name, amount in (constraints or {}).items():
        told.set_constraint(name, amount)
    return told


class _Known(FrozenTrial):
    """A trial that a study takes as it is; to copy all of them would take most of the time of a proposal."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Known":
        return self
