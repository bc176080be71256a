"""A search without Ray: its trainable is a formula, and its time is virtual."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raysearch.config.trust import trust
from raysearch.history.events import Report
from raysearch.history.history import History
from raysearch.history.journal import Journal, JournalEnd
from raysearch.search.loop import SearchLoop
from raysearch.search.search import Proposal, Search
from raysearch.search.simulated import Leg, SimulatedExecutor
from raysearch.search.work import Assignment
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


PROMOTION = {
    "name": "asha",
    "form": "promotion",
    "grace_iters": 2,
    "reduction_factor": 2,
    "max_iters": 8,
    "audit_fraction": 0,
}
SCORE_AND_COST = [{"metric": "score", "mode": "max"}, {"metric": "cost", "mode": "min"}]


def toy_spec(folder: Path, **sections: Any) -> SearchSpec:
    """Return a search of the formula, whose code the user trusts."""
    (folder / "toy.py").write_text(TRAINABLE)
    trust(["toy.py:Toy"], folder)
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


def score(config: Mapping[str, Any], iteration: int) -> float:
    """Return the score; it is NaN beyond x = 0.8 from iteration 4 on, as in a diverging training."""
    if config["x"] > 0.8 and iteration >= 4 and config["n"] != 3:
        return math.nan
    bonus = 0.1 * config["slope"] if config["kind"] == "b" else 0.0
    return 1 - (config["x"] - 0.6) ** 2 - 0.01 * abs(math.log(config["n"] / 20)) + bonus - 0.5 / iteration


def cost(config: Mapping[str, Any]) -> float:
    """Return the cost, which grows with x and so conflicts with the score."""
    return float(config["x"] ** 2 + (0.1 if config["kind"] == "b" else 0.0))


class ToyWorld:
    """Trials that train by the formula; each report takes half a second."""

    def __init__(self) -> None:
        self._configs: dict[int, Mapping[str, Any]] = {}
        self._reached: dict[int, int] = {}

    def begin(self, assignment: Assignment, now: float) -> Leg:
        self._configs[assignment.number] = assignment.config
        self._reached[assignment.number] = max((iteration for iteration, _, _ in assignment.reports), default=0)
        return self.go_on(assignment.number, now)

    def go_on(self, number: int, now: float) -> Leg:
        config = self._configs[number]
        self._reached[number] = iteration = self._reached[number] + 1
        assert iteration <= 8, "the space file has no max_iters"
        report = Report(
            iteration=iteration,
            value=score(config, iteration),
            metrics={"loss": 1.0 / iteration, "cost": cost(config)},
            checkpoint=f"checkpoint-{iteration}",
            seconds=0.5,
            done=False,
        )
        return Leg(now + 0.5, report)


def toy_assignment(proposal: Proposal) -> Assignment:
    number = proposal.number
    return Assignment(number, f"trial {number}", proposal.config, Path(str(number)), None, proposal.restorable)


def toy_loop(search: Search, after_report: Callable[[], None] = lambda: None) -> SearchLoop:
    """Return the loop of a search, as every executor runs it."""
    return SearchLoop(search, toy_assignment, watch=lambda changed: after_report())


class _OneTrial(SearchLoop):
    """The loop of a search with a single trial to assign."""

    def __init__(self, search: Search, proposal: Proposal, after_report: Callable[[], None]) -> None:
        super().__init__(search, toy_assignment, watch=lambda changed: None)
        self._left, self._after_report = [proposal], after_report

    def next(self) -> Assignment | None:
        return toy_assignment(self._left.pop()) if self._left else None

    def tick(self) -> None:
        self._after_report()  # the test takes the changes


def run_trial(search: Search, proposal: Proposal, after_report: Callable[[], None] = lambda: None) -> None:
    """Run one trial from its newest checkpoint in the journal until the search stops it."""
    SimulatedExecutor(ToyWorld(), num_workers=1).run(_OneTrial(search, proposal, after_report))


def run_search(spec: SearchSpec, journal: Path, after_report: Callable[[], None] = lambda: None) -> History:
    with Journal(journal) as opened:
        search = Search(spec, opened)
        SimulatedExecutor(ToyWorld(), num_workers=1).run(toy_loop(search, after_report))
        assert search.finished
        return search.history


def leave_journal(path: Path, content: bytes) -> None:
    """Leave a journal as a kill at an earlier moment would have left it, when nothing further had been written."""
    path.write_bytes(content)
    JournalEnd(path).forget()


def facts(history: History) -> list[Any]:
    """Return everything of a history except the time of day."""
    return [
        (t.number, t.status, t.error, t.values, t.params, t.is_default, t.end_order, sorted(t.reports.items()))
        for t in history.trials
    ]
