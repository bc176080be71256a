"""Tests that apply to every panel, on every kind of search."""

import json
import random
from functools import partial

import pytest

from raysearch.history.events import Status
from raysearch.history.history import History
from raysearch.report.page import PANELS
from raysearch.report.parts import Code, Facts, Grid, Plot, Table, Text
from raysearch.report.view import SearchView
from tests.raysearch.operations import num_operations
from tests.raysearch.report.histories import history_of, rich_view, trial

BEST = {"optim": {"lr": 0.1}, "raysearch": {"versions": {"python": "3.11"}}}

STATUSES: tuple[Status, ...] = ("completed", "stopped", "stopped", "infeasible", "failed")


def _large() -> History:
    rng = random.Random(0)
    trials = []
    for _ in range(300):
        memory = rng.random() < 0.5
        values = {"optim.lr": 10 ** rng.uniform(-3, -1), "views": rng.randint(0, 10), "memory": memory}
        values |= {"memory_size": rng.randint(100, 1000)} if memory else {}
        status = rng.choice(STATUSES)
        curve = [] if status == "failed" else [rng.random() for _ in range(10 if status == "completed" else 3)]
        trials.append(trial(values, curve, status, error="out of memory" if status == "infeasible" else None))
    return history_of(*trials)


SEARCHES = {
    "empty": history_of(target=8),
    "one trial": history_of(trial({"optim.lr": 0.01}, [0.5], is_default=True)),
    "running only": history_of(
        trial({"optim.lr": 0.01}, [], "running"), trial({"optim.lr": 0.1}, [0.5], "running"), target=8
    ),
    "nothing reported": history_of(trial({"views": 1}, [], "running")),
    "infeasible only": history_of(
        trial({"views": 1}, [0.5], "infeasible", error="nan"), trial({"views": 2}, [], "infeasible")
    ),
    "failed only": history_of(*(trial({"views": n}, [], "failed", error=f"{n}") for n in range(30))),
    "conditional": history_of(
        trial({"memory": False}, [0.1], is_default=True), trial({"memory": True, "memory_size": 200}, [0.2, 0.3])
    ),
    "nothing searched": history_of(*(trial({}, [0.1 * n]) for n in range(12))),
    "extreme numbers": history_of(
        trial({"x": float("inf")}, [1e300, -1e300], space={}), trial({"x": 1e-300}, [0.0], space={})
    ),
    "300 trials": _large(),
}


@pytest.mark.parametrize("title", [title for title, _ in PANELS])
@pytest.mark.parametrize("search", SEARCHES)
def test_every_panel_has_something_plain_to_say_of_every_search(title: str, search: str) -> None:
    history = SEARCHES[search]
    best = BEST if history.best_trial() else None
    view = SearchView(history, "miou", rungs=(1, 3), max_iters=10, best=best)
    panel = dict(PANELS)[title]
    parts = panel(view)
    assert parts or title in ("Per-class IoU", "Predictions")
    plots = [plot for part in parts if isinstance(part, Grid) for plot in part.plots]
    for part in [*parts, *plots]:
        match part:
            case Text(text=text) | Code(text=text):
                assert text.strip()
            case Facts(facts=facts):
                assert all(fact.name and fact.value for fact in facts)
            case Table():
                assert part.rows
                assert {len(row) for row in part.rows} == {len(part.header)}
            case Plot():
                json.dumps(part.figure.to_dict(), allow_nan=False)
                assert part.description
                assert all(len(trace.x) == len(trace.y) > 0 for trace in part.figure.data)
            case Grid():
                assert part.plots
    assert repr(parts) == repr(panel(SearchView(history, "miou", rungs=(1, 3), max_iters=10, best=best)))


@pytest.mark.slow
def test_no_panel_needs_more_than_linear_work() -> None:
    few, many = rich_view(500), rich_view(2000)
    for title, panel in PANELS:
        counts = []
        for view in (few, many):
            panel(view)  # what several panels show is computed once
            counts.append(num_operations(partial(panel, view)))
        assert counts[1] < 5 * counts[0], title
