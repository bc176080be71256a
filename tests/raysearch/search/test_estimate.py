"""Tests of the estimated iterations of a search: exact where they are certain, otherwise within the interval."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.history import History, read_history
from raysearch.history.journal import Journal
from raysearch.search import estimate
from raysearch.search.estimate import Interval, estimate_search
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.operations import num_operations
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import run_search, run_trial, toy_spec


def sure(number: float) -> Interval:
    return Interval(number, number, number)


def spec_of(folder: Path, *, space: dict[str, Any] | None = None, **sections: Any) -> SearchSpec:
    """Return a search with the default trainable: 100 iterations per trial, a report every 10."""
    document = {
        "name": "x",
        "config": {"train": {"max_iters": 100, "report_iters": 10, "batch_size": 2, **sections.pop("train", {})}},
        "space": space or {"optim.lr": {"type": "float", "low": 1e-3, "high": 0.1}},
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"trials": 8},
        "scheduler": {"name": "none"},
    }
    return parse_space({**document, **sections}, folder)


def test_without_a_rule_every_trial_is_trained_to_the_end(tmp_path: Path) -> None:
    found = estimate_search(spec_of(tmp_path), concurrent=1)
    assert found is not None
    assert (found.iterations, found.full_trials) == (sure(800), sure(8))
    assert 400 < found.elapsed.low < found.elapsed.high < 1900
    assert found.elapsed.median == pytest.approx(800, rel=0.2)
    side_by_side = estimate_search(spec_of(tmp_path), concurrent=8)
    assert side_by_side is not None
    assert side_by_side.elapsed.median == pytest.approx(140, rel=0.3)


def test_a_rung_lets_one_in_eta_on(tmp_path: Path) -> None:
    rungs = {"name": "asha", "grace_iters": 10, "reduction_factor": 5, "audit_fraction": 0}
    search = {"trials": 1000, "algorithm": "random"}
    found = estimate_search(spec_of(tmp_path, scheduler=rungs, search=search))
    assert found is not None
    # Rungs at 10 and 50: 1000 * (10 + 40 / 5 + 50 / 25), with a deviation that depends on the order of the trials.
    assert 20_000 * 0.7 < found.iterations.low < found.iterations.high < 20_000 * 1.45
    assert found.iterations.median == pytest.approx(20_000, rel=0.1)
    audited = estimate_search(spec_of(tmp_path, scheduler={**rungs, "audit_fraction": 1}, search=search))
    assert audited is not None
    assert audited.iterations == sure(100_000)


def test_the_default_trial_and_pilots_are_never_stopped(tmp_path: Path) -> None:
    two = estimate_search(spec_of(tmp_path, scheduler={"name": "asha", "grace_iters": 10}, search={"trials": 1}))
    assert two is not None
    assert two.iterations == sure(100)
    six = estimate_search(spec_of(tmp_path, scheduler={"name": "asha"}, search={"trials": 6}))
    assert six is not None
    assert six.iterations == sure(600)
    many = estimate_search(spec_of(tmp_path, scheduler={"name": "asha"}, search={"trials": 40}))
    assert many is not None
    assert 1000 < many.iterations.low < many.iterations.median <= many.iterations.high <= 4000


@pytest.mark.parametrize(
    "scheduler",
    [
        {"name": "asha", "grace_iters": 10, "slack": 0.1},
        {"name": "asha", "grace_iters": 10, "form": "promotion", "slack": "auto"},
        {"name": "asha", "form": "promotion"},
        {"name": "hyperband", "grace_iters": 10},
        {"name": "pasha", "grace_iters": 10},
        {"name": "median", "grace_iters": 10},
    ],
    ids=str,
)
def test_every_rule_can_be_simulated(tmp_path: Path, scheduler: dict[str, Any]) -> None:
    found = estimate_search(spec_of(tmp_path, scheduler=scheduler, search={"trials": 30}), concurrent=3)
    assert found is not None
    assert 30 * 10 <= found.iterations.low <= found.iterations.median <= found.iterations.high <= 30 * 100
    assert found.iterations.median / 3 * 0.8 < found.elapsed.median < found.iterations.median
    assert 1 <= found.full_trials.high <= 30


def test_several_objectives(tmp_path: Path) -> None:
    objective = [{"metric": "miou", "mode": "max"}, {"metric": "seconds_per_image", "mode": "min"}]
    scheduler = {"name": "asha", "by": "nondominated_rank", "grace_iters": 10}
    found = estimate_search(spec_of(tmp_path, objective=objective, scheduler=scheduler, search={"trials": 30}))
    assert found is not None
    assert 300 < found.iterations.low <= found.iterations.high < 3000


def test_shared_iterations_count_once_for_every_beginning(tmp_path: Path) -> None:
    shared = spec_of(tmp_path, train={"shared_iters": 40})
    found = estimate_search(shared)
    assert found is not None
    assert found.iterations == sure(40 + 8 * 60)
    heads = {
        "optim.lr": {"type": "float", "low": 1e-3, "high": 0.1},
        "train.seed": {"type": "int", "low": 0, "high": 1},
    }
    by_seed = estimate_search(spec_of(tmp_path, space=heads, train={"shared_iters": 40}))
    assert by_seed is not None
    assert by_seed.iterations.median == 2 * 40 + 8 * 60  # a draw of 8 trials has both seeds
    # Before the contrast loss starts, its values have no effect; the learning rate has.
    contrast = {"contrast.temperature": {"type": "float", "low": 0.1, "high": 0.2}}
    config = {"train": {"max_iters": 100, "report_iters": 10}, "contrast": {"warmup_iters": 30}}
    warm = estimate_search(spec_of(tmp_path, space=contrast, config=config))
    assert warm is not None
    assert warm.iterations == sure(30 + 8 * 70)
    own = estimate_search(spec_of(tmp_path, config=config))
    assert own is not None
    assert own.iterations == sure(800)


def test_confirmations_are_whole_trainings(tmp_path: Path) -> None:
    search = {"trials": 8, "confirm": {"top": 3, "seeds": 2}}
    found = estimate_search(spec_of(tmp_path, search=search), concurrent=3)
    assert found is not None
    assert (found.confirm_iterations, found.confirm_elapsed) == ((3 + 1) * 2 * 100, 3 * 100)


def test_a_space_with_few_configs_ends_early(tmp_path: Path) -> None:
    space = {
        "optim.name": {"type": "categorical", "choices": ["sgd", "adamw"]},
        "train.seed": {"type": "int", "low": 0, "high": 1},
    }
    found = estimate_search(spec_of(tmp_path, space=space))
    assert found is not None
    assert found.iterations == sure(400)


def test_an_unknown_budget_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def mine(config):\n    pass\n")
    spec = spec_of(tmp_path, trainable="mine.py:mine", config={})
    assert estimate_search(spec) is None


def test_what_is_left_of_a_search_shrinks_to_nothing(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 24, "seed": 3})
    left, taken = [], []
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        while (proposal := search.propose()) is not None:
            if proposal.number % 4 == 0:
                found = estimate_search(spec, search.history)
                assert found is not None
                left.append(found)
                taken.append(trained(search.history))
            run_trial(search, proposal)
    total = trained(search.history)
    finished = estimate_search(spec, search.history)
    assert finished is not None
    assert (finished.iterations, finished.elapsed) == (sure(0), sure(0))
    assert finished.full_trials == sure(sum(trial.status == "completed" for trial in search.history.trials))
    assert all(a.iterations.median > b.iterations.median for a, b in pairwise(left))
    for before, found in zip(taken, left, strict=True):
        assert found.iterations.low * 0.7 <= total - before <= found.iterations.high * 1.3


def test_a_trial_whose_last_report_is_not_yet_its_end_has_nothing_left(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 1})
    run_search(spec, tmp_path / "whole.journal")
    lines = (tmp_path / "whole.journal").read_bytes().splitlines(keepends=True)
    (tmp_path / "part.journal").write_bytes(b"".join(lines[:-1]))
    history = read_history(tmp_path / "part.journal")
    assert history.trials[0].status == "running"
    found = estimate_search(spec, history)
    assert found is not None
    assert (found.iterations, found.full_trials) == (sure(0), sure(1))


def trained(history: History) -> int:
    return sum(trial.last.iteration for trial in history.trials if trial.last)


def test_paused_and_running_trials_go_on_from_where_they_stand(tmp_path: Path) -> None:
    scheduler = {"name": "asha", "form": "promotion", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8}
    spec = toy_spec(tmp_path, scheduler=scheduler, search={"trials": 12, "algorithm": "random", "seed": 1})
    whole = run_search(spec, tmp_path / "whole.journal")
    lines = (tmp_path / "whole.journal").read_bytes().splitlines(keepends=True)
    (tmp_path / "part.journal").write_bytes(b"".join(lines[: len(lines) // 2]))
    with Journal(tmp_path / "part.journal") as journal:
        history = Search(spec, journal).history
    found = estimate_search(spec, history)
    assert found is not None
    assert any(trial.is_paused for trial in history.trials)
    left = trained(whole) - trained(history)
    assert found.iterations.low * 0.7 <= left <= found.iterations.high * 1.3


def test_ten_thousand_trials_are_estimated_by_no_more_work_than_a_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "NUM_SIMULATIONS", 2)
    operations = []
    for trials in (1_000, 10_000):
        spec = spec_of(tmp_path, scheduler={"name": "asha", "grace_iters": 10}, search={"trials": trials})
        operations.append(num_operations(partial(estimate_search, spec, concurrent=8)))
        found = estimate_search(spec, concurrent=8)
        assert found is not None
        assert found.iterations.low > trials * 10
    assert operations[1] < 1.1 * operations[0]


def test_trials_that_always_beat_the_earlier_ones_are_expected_to_go_on_so(tmp_path: Path) -> None:
    rungs = {"name": "asha", "grace_iters": 10, "reduction_factor": 3, "audit_fraction": 0}
    spec = spec_of(tmp_path, scheduler=rungs, search={"trials": 40, "algorithm": "tpe"})

    def left(values: list[float]) -> float:
        trials = [trial({"optim.lr": 0.01 + 0.001 * k}, {10: value}, "stopped") for k, value in enumerate(values)]
        found = estimate_search(spec, history_of(*trials, target=40))
        assert found is not None
        return found.iterations.median

    values = [0.1 + 0.01 * k for k in range(12)]
    assert left(values) > 1.5 * left(values[::-1])
