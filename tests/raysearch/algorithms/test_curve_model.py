from dataclasses import replace

import numpy as np

from raysearch.algorithms.curve_model import Process, fit, observations, without_outliers
from tests.raysearch.algorithms.curves import history_of, trial


def test_a_stopped_trial_is_expected_to_gain_what_completed_ones_gained() -> None:
    history = history_of(
        trial(0, {100: 0.20, 400: 0.30}),
        trial(1, {100: 0.24, 400: 0.30}),
        trial(2, {100: 0.22, 400: 0.34}),
        trial(3, {100: 0.21}, "stopped"),
        trial(4, {100: 0.25}, "running"),
        trial(5, {}, "running"),
        trial(6, {100: 0.30}, "failed"),
    )
    found = observations(history.trials[:6], history)
    assert [o.trial.number for o in found] == [0, 1, 2, 3, 4]
    # The gains are 0.10, 0.06 and 0.12; below are their mean and their variance.
    np.testing.assert_allclose([o.loss for o in found], [-0.30, -0.30, -0.34, -0.21 - 0.28 / 3, -0.25 - 0.28 / 3])
    spread = float(np.var([0.10, 0.06, 0.12], ddof=1))
    np.testing.assert_allclose([o.variance for o in found], [0.0, 0.0, 0.0, spread, spread], atol=1e-15)


def test_with_few_completed_trials_an_early_score_is_as_uncertain_as_early_scores_differ() -> None:
    history = history_of(
        trial(0, {100: 2.0, 400: 1.0}), trial(1, {100: 3.0}, "stopped"), trial(2, {100: 7.0}, "stopped"), mode="min"
    )
    found = observations(history.trials, history)
    assert [o.loss for o in found] == [1.0, 2.0, 6.0]
    np.testing.assert_allclose([o.variance for o in found], [0.0, 7.0, 7.0])


def test_an_infeasible_trial_is_as_bad_as_a_poor_one_and_a_broken_constraint_as_the_worst() -> None:
    feasible = [trial(number, {400: score}) for number, score in enumerate((0.3, 0.2, 0.4, 0.1, 0.0))]
    breaking = trial(5, {400: 0.9})
    breaking.reports[400] = replace(breaking.reports[400], violations={"iou.2 >= 0.15": 0.1})
    history = history_of(*feasible, breaking, trial(6, {}, "infeasible"))
    assert history.trials[5].broken(history.mode)
    found = {o.trial.number: o.loss for o in observations(history.trials, history)}
    assert found == {0: -0.3, 1: -0.2, 2: -0.4, 3: -0.1, 4: 0.0, 5: 0.0, 6: -0.1}


def test_posterior_of_one_observation() -> None:
    """With k = 2 at distance 0, noise 1 and y = 3: mean 3 * 2/3, variance 2 - 4/3; the prior holds far away."""
    process = Process(
        x=np.array([[0.0]]),
        y=np.array([3.0]),
        noise=np.array([1.0]),
        groups=np.array([0]),
        length_scales=np.array([0.1]),
        signal=2.0,
        new_noise=1.0,
    )
    expected, deviation = process.posterior(np.array([[0.0], [100.0]]))
    np.testing.assert_allclose(expected, [2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(deviation**2, [2.0 - 4.0 / 3.0, 2.0], atol=1e-9)
    pending = process.expecting(np.array([[0.0]]))
    expected, deviation = pending.posterior(np.array([[0.0]]))
    np.testing.assert_allclose(expected, [2.0])  # the expected value was observed
    np.testing.assert_allclose(deviation**2, [1.0 / (1.0 / 2.0 + 2.0)])  # precisions of the prior and of two scores


def test_fit_finds_noise_and_what_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    y = np.sin(6.0 * x[:, 0])
    y = (y - y.mean()) / y.std()
    exact = fit(x, y, np.zeros(60), np.arange(2))
    noisy = fit(x, y + rng.normal(0.0, 0.7, 60), np.zeros(60), np.arange(2))
    assert exact.length_scales[1] > 4 * exact.length_scales[0]
    assert exact.new_noise < 0.01
    assert 0.25 < noisy.new_noise < 1.0


def test_uncertain_observations_are_believed_less() -> None:
    x, y = np.array([[0.5], [0.5]]), np.array([1.0, -1.0])
    process = fit(x, y, np.array([0.0, 10.0]), np.array([0]))
    expected, _ = process.posterior(np.array([[0.5]]))
    assert expected[0] > 0.3


def test_left_out_scores_are_predicted_by_the_others() -> None:
    """The closed form equals the posterior of a process that never saw the observation."""
    rng = np.random.default_rng(0)
    x, y = rng.random((8, 2)), rng.standard_normal(8)

    def process(kept: list[int]) -> Process:
        return Process(x[kept], y[kept], np.full(len(kept), 0.2), np.arange(2), np.array([0.5, 0.8]), 1.3, 0.2)

    predicted, variances = process(list(range(8))).left_out()
    for place in range(8):
        mean, deviation = process([i for i in range(8) if i != place]).posterior(x[[place]])
        np.testing.assert_allclose([predicted[place], variances[place]], [mean[0], deviation[0] ** 2 + 0.2])


def test_a_diverged_loss_does_not_decide_what_counts_as_a_difference() -> None:
    """The quartiles are 1 and 3, so the fence is 3 + 1.5 * 2."""
    np.testing.assert_allclose(without_outliers(np.array([0.0, 1.0, 2.0, 3.0, 1e9])), [0.0, 1.0, 2.0, 3.0, 6.0])


def test_many_observations_are_all_used_though_few_are_fitted() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((200, 1))
    process = fit(x, np.sin(9.0 * x[:, 0]), np.zeros(200), np.array([0]))
    assert len(process.y) == 200
    np.testing.assert_allclose(process.posterior(x)[0], np.sin(9.0 * x[:, 0]), atol=0.01)
