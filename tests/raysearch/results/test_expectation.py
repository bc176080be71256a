import math
from pathlib import Path

import numpy as np
import pytest

from raysearch.history.events import Report, Status
from raysearch.history.history import History, TrialHistory
from raysearch.results.expectation import expectations
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import toy_spec

SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}}


def trial(
    number: int, x: float, value: float, status: Status = "completed", violations: dict[str, float] | None = None
) -> TrialHistory:
    reports = {8: Report(8, value, {}, None, 1.0, done=True, violations=violations or {})}
    return TrialHistory(number, {"x": x}, {"x": x}, {}, started=0.0, is_default=False, reports=reports, status=status)


def history_of(trials: list[TrialHistory], mode: str = "max") -> History:
    history = History()
    history.mode = mode  # type: ignore[assignment]
    history.trials.extend(trials)
    return history


@pytest.fixture
def spec(tmp_path: Path) -> SearchSpec:
    return toy_spec(tmp_path, space=SPACE)


def noisy_hill(sign: float) -> list[TrialHistory]:
    """Return thirty noisy scores of a smooth hill with its top at 0.4; a lucky trial beside the top is the best."""
    rng = np.random.default_rng(0)
    places = np.linspace(0.0, 1.0, 30)
    scores = [1.0 - 2.0 * (x - 0.4) ** 2 + 0.02 * rng.standard_normal() for x in places]
    scores[21] = 1.05
    return [trial(i, float(x), sign * y) for i, (x, y) in enumerate(zip(places, scores, strict=True))]


@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_the_luck_of_a_score_is_taken_out(spec: SearchSpec, mode: str, sign: float) -> None:
    history = history_of(noisy_hill(sign), mode)
    assert history.ranked()[0].number == 21
    found = expectations(spec, history)
    assert len(found) == 30
    assert abs(found[0].trial.values["x"] - 0.4) < 0.15
    lucky = next(e for e in found if e.trial.number == 21)
    truth = 1.0 - 2.0 * (lucky.trial.values["x"] - 0.4) ** 2
    assert abs(sign * lucky.mean - truth) < 0.5 * abs(1.05 - truth)
    assert all(math.isfinite(e.mean) and e.config_deviation > 0.0 for e in found)
    assert [sign * e.mean for e in found] == sorted((sign * e.mean for e in found), reverse=True)


def test_only_whole_trials_that_can_win_are_candidates(spec: SearchSpec) -> None:
    trials = [trial(i, x, 1.0 - x) for i, x in enumerate((0.1, 0.3, 0.5, 0.7))]
    trials += [trial(4, 0.0, 2.0, "stopped"), trial(5, 0.05, 2.0, "failed"), trial(6, 0.9, 0.0, "infeasible")]
    assert [e.trial.number for e in expectations(spec, history_of(trials))] == [0, 1, 2, 3]


def test_what_breaks_a_constraint_comes_last(spec: SearchSpec) -> None:
    trials = [trial(i, x, 1.0 - x, violations={"rare >= 0.5": 0.5 - x}) for i, x in enumerate((0.2, 0.4, 0.6, 0.8))]
    assert [e.trial.number for e in expectations(spec, history_of(trials))][:2] == [2, 3]


def test_too_few_trials_tell_nothing(spec: SearchSpec) -> None:
    assert expectations(spec, history_of([trial(0, 0.5, 1.0)])) == []
    assert expectations(spec, history_of([])) == []


def test_the_interval_is_as_wide_as_scores_are_unpredictable(spec: SearchSpec) -> None:
    """Scores of a flat landscape tell of nothing but noise, whose deviation an interval for new seeds must hold."""
    rng = np.random.default_rng(1)
    trials = [
        trial(i, x, 0.5 + 0.1 * z) for i, (x, z) in enumerate(zip(rng.random(40), rng.standard_normal(40), strict=True))
    ]
    best = expectations(spec, history_of(trials))[0]
    assert 0.05 < best.seed_deviation < 0.2
    low, high = best.interval
    assert low < 0.5 < high
    assert high - low > 4 * best.seed_deviation
