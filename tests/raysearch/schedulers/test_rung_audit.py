import random

import numpy as np
import pytest
from scipy.stats import rankdata

from raysearch.history.history import History
from raysearch.schedulers.rung_audit import MIN_TRIALS, TRUSTED, audit_rungs, spearman
from tests.raysearch.report.histories import history_of, trial

X = {"views": 3}


def curves(pairs: list[tuple[float, float]]) -> History:
    return history_of(*(trial(X, {2: early, 4: 0.5, 8: final}) for early, final in pairs))


def test_spearman_is_pearson_of_the_ranks() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 6, 20).astype(float)
    second = first + rng.normal(0, 2, 20)
    found = spearman(first.tolist(), second.tolist())
    assert found is not None
    expected = np.corrcoef(rankdata(first), rankdata(second))[0, 1]
    assert found[0] == pytest.approx(expected, abs=1e-12)
    half_width = 1.959964 * np.sqrt((1 + expected**2 / 2) / 17)
    assert np.arctanh(found[1]) == pytest.approx([np.arctanh(expected) - half_width, np.arctanh(expected) + half_width])


def test_the_interval_covers_what_it_should() -> None:
    rng = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.8 / 2)  # Spearman's rho of a normal pair whose Pearson correlation is 0.8
    hits = 0
    for _ in range(400):
        x = rng.standard_normal(15)
        y = 0.8 * x + 0.6 * rng.standard_normal(15)
        found = spearman(x.tolist(), y.tolist())
        assert found is not None
        hits += found[1][0] <= truth <= found[1][1]
    assert 0.92 <= hits / 400 <= 0.99


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_perfect_order_of_few_has_a_wide_interval(sign: float) -> None:
    found = spearman([1.0, 2.0, 3.0, 4.0], [sign * value for value in (1.0, 2.0, 3.0, 4.0)])
    assert found is not None
    assert found[0] == pytest.approx(sign)
    assert found[1][1] - found[1][0] > 1.5


def test_min_trials_is_the_fewest_that_a_perfect_order_can_convince_with() -> None:
    def lowest(n: int) -> float:
        found = spearman(list(range(n)), list(range(n)))
        assert found is not None
        return found[1][0]

    assert lowest(MIN_TRIALS) >= TRUSTED > lowest(MIN_TRIALS - 1)


def test_nothing_is_said_of_constant_scores() -> None:
    assert spearman([1.0] * 9, list(range(9))) is None
    (rung,) = audit_rungs(curves([(0.5, 0.1 * n) for n in range(9)]), (2,), 8).rungs
    assert (rung.num_trials, rung.correlation, rung.verdict) == (9, None, "tied")


def test_verdicts() -> None:
    good = audit_rungs(curves([(0.1 * n, 0.2 * n) for n in range(9)]), (2,), 8).rungs[0]
    assert (good.iteration, good.correlation, good.verdict) == (2, pytest.approx(1.0), "trusted")
    bad = audit_rungs(curves([(-0.1 * n, 0.2 * n) for n in range(9)]), (2,), 8).rungs[0]
    assert (bad.correlation, bad.verdict) == (pytest.approx(-1.0), "misleading")
    rng = random.Random(0)
    noisy = audit_rungs(curves([(n + rng.gauss(0, 4), n) for n in range(12)]), (2,), 8).rungs[0]
    assert noisy.verdict == "unclear"
    few = audit_rungs(curves([(n, n) for n in range(MIN_TRIALS - 1)]), (2,), 8).rungs[0]
    assert (few.correlation, few.interval, few.verdict) == (None, None, "too few")


def test_a_mirrored_score_has_the_same_correlation() -> None:
    pairs = [(0.1, 0.3), (0.2, 0.1), (0.3, 0.2), (0.4, 0.9), (0.5, 0.4), (0.6, 0.8), (0.7, 0.7)]
    straight = audit_rungs(curves(pairs), (2,), 8)
    assert audit_rungs(curves([(-early, -final) for early, final in pairs]), (2,), 8) == straight


def test_scores_are_those_of_the_first_report_at_or_beyond() -> None:
    values = [0.1, 0.5, 0.3, 0.7, 0.2, 0.6, 0.4]
    trials = [trial(X, {1: 9.0 - n, 3: value, 4: 0.0, 8: value}) for n, value in enumerate(values)]
    audit = audit_rungs(history_of(*trials), (2, 4), 8)
    assert [rung.correlation for rung in audit.rungs] == [pytest.approx(1.0), None]


def test_only_trials_with_both_scores_count() -> None:
    trials = [trial(X, {2: 0.1 * n, 8: 0.1 * n}) for n in range(8)]
    trials[3].is_audited = True
    trials += [trial(X, {2: 0.9}, "stopped"), trial(X, {2: 0.9}, "running"), trial(X, {8: 0.9})]
    audit = audit_rungs(history_of(*trials), (2,), 8)
    assert [(rung.num_trials, rung.num_audited, rung.num_missing) for rung in audit.rungs] == [(8, 1, 1)]


def test_without_rungs_the_quarter_points_with_reports_are_audited() -> None:
    every = history_of(*(trial(X, [0.1 * n] * 8) for n in range(8)))
    audit = audit_rungs(every, (), 8)
    assert ([rung.iteration for rung in audit.rungs], audit.at_rungs) == ([2, 4, 6], False)
    half = history_of(*(trial(X, {50: 0.1 * n, 100: 0.1 * n}) for n in range(8)))
    assert [rung.iteration for rung in audit_rungs(half, (), None).rungs] == [50]
    once = history_of(*(trial(X, {100: 0.1 * n}) for n in range(8)))
    assert audit_rungs(once, (), None).rungs == ()


def test_the_full_budget_is_that_of_completed_trials() -> None:
    assert audit_rungs(history_of(trial(X, [0.1], "stopped")), (2,), 8).full_iteration is None
    early_end = history_of(*(trial(X, {2: 0.1 * n, 6: 0.1 * n}) for n in range(8)))
    audit = audit_rungs(early_end, (2,), 8)
    assert (audit.full_iteration, audit.rungs[0].verdict) == (6, "trusted")
