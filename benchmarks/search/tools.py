"""The tools by name: raysearch with its defaults, and its peers, each by its own code.

Peers get the space, the metric and the full budget. A peer that stops trials also gets the first report as its first
rung. Everything else is its default.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.search.simulation import Start, Tool
from benchmarks.search.task import Task
from raysearch.history.events import Report
from raysearch.history.history import History
from raysearch.history.journal import MemoryRecord, Record
from raysearch.results.expectation import expectations
from raysearch.schedulers import Decision
from raysearch.search.candidates import Candidate
from raysearch.search.loop import SearchLoop
from raysearch.search.search import Proposal, Search
from raysearch.search.work import Assignment
from raysearch.space.spec import SearchSpec

Values = Mapping[str, Any]
Settings = Mapping[str, Mapping[str, Any]]

OWN, RULE, SCORE = "own", "rule", "score"
"""Rules of naming: that of the tool, the best expected score, and the best score that any trial has reported."""


def _named_by_expectation(spec: SearchSpec, history: History) -> Values | None:
    """Return the config with the best expected score, which `confirm` retrains too, or else that of the best score."""
    expected = next(iter(expectations(spec, history)), None)
    best = expected.trial if expected else history.best_trial()
    return None if best is None else best.values


def _named_by_score(history: History) -> Values | None:
    best = history.best_trial()
    return None if best is None else best.values


class Ours:
    """raysearch."""

    def __init__(self, spec: SearchSpec, record: Record) -> None:
        self._spec = spec
        self._search = Search(spec, record)
        self._loop = SearchLoop(self._search, _assignment, watch=lambda changed: None)

    def propose(self) -> Start | None:
        assignment = self._loop.next()
        if assignment is None:
            return None
        values = self._search.history.trials[assignment.number].values
        return Start(assignment.number, values, max((r[0] for r in assignment.reports), default=0))

    def report(self, trial: int, iteration: int, score: float) -> bool:
        decision = self._loop.take(trial, _report(iteration, score))
        self._search.take_changed()
        return decision is Decision.CONTINUE

    def named(self) -> Mapping[str, Values | None]:
        history = self._search.history
        by_score = _named_by_score(history)
        return {OWN: by_score, RULE: _named_by_expectation(self._spec, history), SCORE: by_score}


def _assignment(proposal: Proposal) -> Assignment:
    return Assignment(proposal.number, "", {}, Path(), None, proposal.restorable)


def _report(iteration: int, score: float) -> Report:
    return Report(iteration, score, {}, f"checkpoint-{iteration}", 1.0, done=False)


class Peer(Protocol):
    """A search of another tool, driven through the same objects as by its own loop."""

    def propose(self) -> Start | None:
        """Return what a free worker trains next; None if it has to wait for a running trial."""
        ...

    def report(self, trial: int, iteration: int, score: float) -> bool:
        """Record a score and return True if the trial continues; NaN means that it diverged and has ended.

        A trial that does not continue may be proposed again later, from its last iteration on.
        """
        ...

    def named(self) -> Values | None:
        """Return the config that the tool would name as its best now."""
        ...


class Recorded:
    """A peer whose trials are recorded as raysearch records its own, so that our rule of naming can be applied."""

    def __init__(self, peer: Peer, task: Task) -> None:
        self._peer = peer
        self._spec = task.spec(0, {"scheduler": {"name": "none"}})
        self._proposed: Start | None = None
        self._search = Search(self._spec, MemoryRecord(), candidates=lambda spec, history: self._candidate())
        self._numbers: dict[int, int] = {}
        """Number in the record of every trial of the peer."""

    def propose(self) -> Start | None:
        start = self._peer.propose()
        if start is not None and start.trial not in self._numbers:
            self._proposed = start
            proposal = self._search.propose()
            assert proposal is not None, "the search is endless"
            self._numbers[start.trial] = proposal.number
        return start

    def _candidate(self) -> Candidate:
        assert self._proposed is not None, "it is set before"
        return Candidate(self._proposed.values)

    def report(self, trial: int, iteration: int, score: float) -> bool:
        self._search.take(self._numbers[trial], _report(iteration, score))
        self._search.take_changed()
        return self._peer.report(trial, iteration, score)

    def named(self) -> Mapping[str, Values | None]:
        history = self._search.history
        return {
            OWN: self._peer.named(),
            RULE: _named_by_expectation(self._spec, history),
            SCORE: _named_by_score(history),
        }


class Best:
    """The config of the best score so far; for peers that name it so."""

    def __init__(self) -> None:
        self._best: tuple[float, Values] | None = None

    def add(self, score: float, values: Values) -> None:
        """Take a score into account."""
        if not math.isnan(score) and (self._best is None or score > self._best[0]):
            self._best = score, values

    @property
    def values(self) -> Values | None:
        """Values of the best score; None before the first."""
        return None if self._best is None else self._best[1]


@dataclass(frozen=True)
class _Kind:
    """A tool that can be compared."""

    module: str
    """Module of `benchmarks.search.peers` that drives it; empty for raysearch."""
    arguments: tuple[Any, ...] = ()
    """Arguments of the module's `opened` after the task and the seed."""
    needs: str = ""
    """Package that must be installed."""
    extra: str = "peers"
    """Extra of this project that installs it."""


OURS = "ours"
SHARING = "ours, sharing"
"""raysearch, where the iterations that all trials have in common are trained once."""

TOOLS: Mapping[str, _Kind] = {
    OURS: _Kind(""),
    SHARING: _Kind(""),
    "random": _Kind("random_search"),
    "OptunaSearch + ASHA": _Kind("ray_tune"),
    "Optuna TPE": _Kind("optuna_study", ("tpe", False)),
    "Optuna TPE + Hyperband": _Kind("optuna_study", ("tpe", True)),
    "Optuna GP": _Kind("optuna_study", ("gp", False)),
    "Optuna GP + Hyperband": _Kind("optuna_study", ("gp", True)),
    "BoTorch qLogNEI": _Kind("botorch_qlognei", needs="botorch"),
    "Syne Tune ASHACQR": _Kind("syne_tune", ("ASHACQR",), needs="syne_tune"),
    "Syne Tune BOHB": _Kind("syne_tune", ("BOHB",), needs="syne_tune"),
    "SMAC3 multi-fidelity": _Kind("smac", needs="smac"),
    "NePS PriorBand": _Kind("neps", needs="neps", extra="neps"),
}


def is_installed(name: str) -> bool:
    """Return True if the package of a tool is installed."""
    needs = TOOLS[name].needs
    return not needs or importlib.util.find_spec(needs) is not None


def opened(name: str, task: Task, seed: int, settings: Settings) -> Tool:
    """Return a new search by the name of its tool; the settings by section of a space file are for raysearch."""
    kind = TOOLS[name]
    if not kind.module:
        return Ours(task.spec(seed, settings), MemoryRecord())
    module = importlib.import_module(f"benchmarks.search.peers.{kind.module}")
    open_peer: Callable[..., Peer] = module.opened
    return Recorded(open_peer(task, seed, *kind.arguments), task)
