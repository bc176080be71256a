"""A search without Ray: a trainable that is a formula, and a loop that runs trials one after another."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raysearch.history.events import Report
from raysearch.history.history import History
from raysearch.history.journal import Journal
from raysearch.schedulers import Decision
from raysearch.search.search import Proposal, Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

TRAINABLE = """
from pydantic import BaseModel

class Toy:
    class Config(BaseModel):
        model_config = {"extra": "forbid"}
        x: float = 0.9
        n: int = 3
        kind: str = "a"
        slope: float = 0.5

    METRICS = frozenset({"score", "loss", "cost"})
"""

SPACE: dict[str, Any] = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "n": {"type": "int", "low": 1, "high": 100, "log": True},
    "kind": {"type": "categorical", "choices": ["a", "b"]},
    "slope": {"type": "float", "low": 0.1, "high": 1.0, "when": {"kind": "b"}},
}


SCORE_AND_COST = [{"metric": "score", "mode": "max"}, {"metric": "cost", "mode": "min"}]


def toy_spec(folder: Path, **sections: Any) -> SearchSpec:
    (folder / "toy.py").write_text(TRAINABLE)
    document = {
        "name": "toy",
        "trainable": "toy.py:Toy",
        "space": SPACE,
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "tpe", "trials": 24, "seed": 3},
        "scheduler": {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8},
        "resources": {"cpu": 1},
    }
    document.update(sections)
    return parse_space(document, folder, "toy.yaml")


def score(config: dict[str, Any], iteration: int) -> float:
    """NaN beyond x = 0.8 from iteration 4 on, as a diverging training."""
    if config["x"] > 0.8 and iteration >= 4 and config["n"] != 3:
        return math.nan
    bonus = 0.1 * config["slope"] if config["kind"] == "b" else 0.0
    return 1 - (config["x"] - 0.6) ** 2 - 0.01 * abs(math.log(config["n"] / 20)) + bonus - 0.5 / iteration


def cost(config: dict[str, Any]) -> float:
    """Grows with x, and so is at odds with the score."""
    return float(config["x"] ** 2 + (0.1 if config["kind"] == "b" else 0.0))


def run_trial(search: Search, proposal: Proposal, after_report: Callable[[], None] = lambda: None) -> None:
    """Run one trial from the newest checkpoint the journal knows to where the search stops it."""
    first = max((iteration for iteration, _, _ in proposal.restorable), default=0) + 1
    for iteration in range(first, 9):
        decision = search.take(
            proposal.number,
            Report(
                iteration=iteration,
                value=score(proposal.config, iteration),
                metrics={"loss": 1.0 / iteration, "cost": cost(proposal.config)},
                checkpoint=f"checkpoint-{iteration}",
                seconds=0.5,
                done=False,
            ),
        )
        after_report()
        if decision is not Decision.CONTINUE:
            return


def run_search(spec: SearchSpec, journal: Path, after_report: Callable[[], None] = lambda: None) -> History:
    with Journal(journal) as opened:
        search = Search(spec, opened)
        while (proposal := search.propose()) is not None:
            run_trial(search, proposal, after_report)
        assert search.finished
        return search.history


def facts(history: History) -> list[Any]:
    """Everything of a history but the time of day."""
    return [
        (t.number, t.status, t.error, t.values, t.params, t.is_default, t.end_order, sorted(t.reports.items()))
        for t in history.trials
    ]
