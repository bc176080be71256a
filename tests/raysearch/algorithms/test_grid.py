from pathlib import Path

from raysearch.algorithms import suggest
from raysearch.history.history import History, TrialHistory
from tests.raysearch.algorithms.test_algorithms import spec_for
from tests.raysearch.toy import run_search


def test_grid_is_every_combination_once_and_then_over(tmp_path: Path) -> None:
    spec = spec_for("grid", tmp_path, trials=1000)
    history = run_search(spec, tmp_path / "grid.journal")
    grid = [t.values for t in history.trials if not t.is_default]
    assert len(grid) == 5 * 3 * (1 + 4)
    assert len({tuple(sorted(values.items())) for values in grid}) == len(grid)


def test_the_default_is_a_combination_like_any_other(tmp_path: Path) -> None:
    """The record of the default trial also holds `slope`, which the trial does not use."""
    spec = spec_for("grid", tmp_path, trials=1000)
    default = History()
    start = {"x": 0.0, "n": 1, "kind": "a", "slope": 0.5}
    default.add(TrialHistory(0, start, start, {}, started=0.0, is_default=True))
    first = suggest(spec, default, 1)
    assert first is not None
    assert first != {"x": 0.0, "n": 1, "kind": "a"}
    assert suggest(spec, History(), 1) == {"x": 0.0, "n": 1, "kind": "a"}
