import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from raysearch.algorithms.curve_gp import CurveGPSampler, log_augmented_improvement, log_expected_improvement
from raysearch.algorithms.history_sampler import Question
from raysearch.history.history import TrialHistory
from tests.raysearch.algorithms.curves import history_of, trial
from tests.raysearch.toy import toy_spec


@pytest.mark.parametrize("lowest", [2.0, 0.0, -3.0])
def test_expected_improvement_is_the_integral(lowest: float) -> None:
    expected, deviation = 0.3, 0.8
    improvement, _ = quad(lambda v: (lowest - v) * norm.pdf(v, expected, deviation), -12.0, lowest)
    found = log_expected_improvement(np.array([expected]), np.array([deviation]), lowest)
    np.testing.assert_allclose(found, math.log(improvement), rtol=1e-5)


def test_expected_improvement_far_beyond_reach_is_finite_and_falls() -> None:
    found = log_expected_improvement(np.array([0.0, 0.0, 0.0]), np.array([0.17, 0.16, 0.01]), -1.0)
    assert np.isfinite(found).all()
    assert found[0] > found[1] > found[2]


def test_trials_that_run_are_kept_away_from(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, space={"x": {"type": "float", "low": 0.0, "high": 1.0}})
    distributions = {p.path: p.distribution for p in spec.parameters}
    history = history_of(*(trial(number, {8: score}) for number, score in enumerate((0.3, 0.5, 0.3))))
    for known, x in zip(history.trials, (0.1, 0.5, 0.9), strict=True):
        known.params, known.values, known.distributions = {"x": x}, {"x": x}, distributions
    for number in range(3, 6):
        values = CurveGPSampler(seed=0).propose(Question(spec, history, number))
        assert values is not None
        history.add(TrialHistory(number, values, values, distributions, started=0.0, is_default=False))
    proposed = sorted(known.values["x"] for known in history.trials[3:])
    assert np.diff(proposed).min() > 0.02


def test_what_noise_would_drown_counts_for_less() -> None:
    """If a mean is as uncertain as a score is noisy, 1 - 1 / sqrt(2) of the improvement counts; without noise, all."""
    means, deviations = np.array([0.1, 0.1, 0.1]), np.array([0.001, 0.3, 30.0])
    plain = log_expected_improvement(means, deviations, 0.1)
    share = np.exp(log_augmented_improvement(means, deviations, 0.1, 0.09) - plain)
    np.testing.assert_allclose(share, [0.5 * (0.001 / 0.3) ** 2, 1.0 - math.sqrt(0.5), 0.99], rtol=1e-3)
    np.testing.assert_allclose(log_augmented_improvement(means, deviations, 0.1, 1e-18), plain, atol=1e-5)


def test_the_best_config_is_left_once_it_is_known_well() -> None:
    """The first config is the best and was trained a hundred times; the second seems worse but is uncertain."""
    means, noise = np.array([0.0, 1.5]), 1.0
    deviations = np.array([0.1, 0.8])
    assert np.argmax(log_expected_improvement(means, deviations, 0.0)) == 0
    assert np.argmax(log_augmented_improvement(means, deviations, 0.0, noise)) == 1
