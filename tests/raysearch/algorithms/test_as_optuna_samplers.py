"""Optuna's own test cases for samplers, applied to our algorithms, which must work in any study."""

import math
from collections.abc import Callable
from functools import partial

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import TrialState

from raysearch.algorithms import (
    CombinationsSampler,
    CurveGPSampler,
    SobolSampler,
    StatelessCmaEsSampler,
    SteadyStateNSGAIISampler,
)
from raysearch.algorithms.study_history import history_of


class TestCurveGPSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: CurveGPSampler(seed=0)


class TestStatelessCmaEsSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: StatelessCmaEsSampler(seed=0)


class TestSobolSampler(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: SobolSampler(seed=0)


class TestCombinationsSampler(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """The relative search space excludes numbers without steps, so the cases on those do not apply."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: CombinationsSampler(seed=0)


class TestSteadyStateNSGAIISampler(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """A genetic algorithm draws its first generation at random; Optuna applies these cases to its own one too."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: SteadyStateNSGAIISampler(seed=0)


def noisy_bowl(trial: optuna.Trial) -> float:
    """Return a score that is best at x = 0.3, y = 0.7; poor trials are pruned halfway."""
    x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("y", 0.0, 1.0)
    loss = (x - 0.3) ** 2 + (y - 0.7) ** 2
    trial.report(loss + 0.5, step=1)
    if loss > 0.1:
        raise optuna.TrialPruned
    return loss


@pytest.mark.parametrize("make", [CurveGPSampler, StatelessCmaEsSampler, SobolSampler])
def test_a_study_built_from_trials_goes_on_as_the_study_itself(
    make: Callable[..., BaseSampler],
) -> None:
    """No sampler keeps state, neither in itself nor in the study."""
    whole = optuna.create_study(sampler=make(seed=1))
    whole.optimize(noisy_bowl, n_trials=14)
    first = optuna.create_study(sampler=make(seed=1))
    first.optimize(noisy_bowl, n_trials=9)
    second = optuna.create_study(sampler=make(seed=1))
    second.add_trials(first.get_trials())
    second.optimize(noisy_bowl, n_trials=5)
    assert [trial.params for trial in second.trials] == [trial.params for trial in whole.trials]


def test_curves_of_pruned_trials_lead_to_the_best() -> None:
    """Most trials are pruned; their earlier reports show where the optimum is."""

    def best(sampler: BaseSampler) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(noisy_bowl, n_trials=16)
        return study.best_value

    found = sorted(best(CurveGPSampler(seed=seed)) for seed in range(3))
    at_random = sorted(best(optuna.samplers.RandomSampler(seed=seed)) for seed in range(3))
    assert found[-1] < 0.002 < at_random[1]


def test_every_combination_is_proposed_once_by_an_optuna_study() -> None:
    study = optuna.create_study(sampler=CombinationsSampler(seed=0))
    study.optimize(lambda t: t.suggest_int("n", 1, 3) * t.suggest_categorical("k", [1, -1]), n_trials=6)
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 6


def test_parents_of_the_steady_state_are_chosen_anew() -> None:
    """The parents of a later trial are among the best of all earlier trials, not only of the first generation."""
    sampler = SteadyStateNSGAIISampler(seed=0, population_size=4)
    study = optuna.create_study(sampler=sampler)
    study.optimize(noisy_bowl, n_trials=60)
    ended = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    parents = sampler.get_parent_population(study, 1)
    best_first = sorted(ended, key=lambda trial: trial.values)
    assert sorted(trial.values for trial in parents) == [trial.values for trial in best_first[:4]]


def test_what_is_told_of_a_trial_of_a_study() -> None:
    """A final value replaces the best report; violated constraints, infinite values and curves count as in a search."""
    study = optuna.create_study()
    x: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}
    tell = partial(optuna.create_trial, params={"x": 0.5}, distributions=x)
    study.add_trials(
        [
            tell(value=3.0, intermediate_values={1: 2.0, 2: math.nan}),
            tell(value=math.inf),
            tell(value=1.0, constraints={"c": 0.5}),
            tell(state=TrialState.PRUNED, intermediate_values={1: 4.0}),
            tell(state=TrialState.PRUNED, constraints={"c": 0.25}),
            tell(state=TrialState.PRUNED),
            tell(state=TrialState.FAIL, intermediate_values={1: 4.0}),
            tell(state=TrialState.RUNNING),
            optuna.create_trial(state=TrialState.RUNNING),
            tell(state=TrialState.RUNNING),
        ]
    )
    history = history_of(study, ["x"], number=9)
    assert [trial.number for trial in history.trials] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [trial.status for trial in history.trials] == [
        *("completed", "infeasible", "completed", "stopped", "infeasible", "failed", "failed", "running")
    ]
    best = [trial.best("min") for trial in history.trials]
    assert [None if report is None else report.value for report in best[:4]] == [3.0, None, 1.0, 4.0]
    assert sorted(history.trials[0].reports) == [1]
    assert history.trials[2].broken("min") == {"c": 0.5}
    assert [history.trials[place].violation for place in (1, 4)] == [1.0, 0.25]
