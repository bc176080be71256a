"""Estimate of the iterations that a search trains, before it starts or from its present state, with an interval.

A rung promotes one trial in eta whatever the scores are, so this share is known. Two things are not known: how fast the
search learns (later trials that are better pass more often), and how well early scores predict final ones (which
decides how many trials `grace_iters: auto` stops, and which of the early trials passed too easily). Every simulation
draws both anew, from no learning to fast learning and from no correlation to a full one. Trials then get random scores,
and the search itself decides on them, with as many parallel trials as there are in the search.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from raysearch.algorithms import num_startable
from raysearch.history.events import Begun, Ended, Mode, Paused, Report, Started, TakenUp
from raysearch.history.history import History, TrialHistory
from raysearch.history.journal import MemoryRecord
from raysearch.history.records import Fact
from raysearch.schedulers import rungs_of
from raysearch.search.beginnings import shared_beginnings
from raysearch.search.candidates import Candidate
from raysearch.search.loop import SearchLoop
from raysearch.search.search import Search
from raysearch.search.simulated import Leg, SimulatedExecutor
from raysearch.search.work import Assignment
from raysearch.space.settings import Objective
from raysearch.space.spec import SearchSpec
from trainables.protocol import HasReportIters

NUM_SIMULATIONS = 30
QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of the simulations that give the low end, the median and the high end of an interval."""

_MAX_SIMULATED = 150
"""Largest number of trials in a simulation; further trials are assumed to be like the later half of these."""
_MAX_COMPARED = 5
"""Number of drawn reports of a trial, if a scheduler also uses reports between rungs."""
_LEARNING_TRIALS = 12.0
"""Number of trials after which a search has made 1 - 1/e of its gain."""
_GAINS = (0.5, 4.0)
"""Smallest and largest gain of a search by learning, in standard deviations of the score of random configs."""
_EXPONENTS = (0.03, 3.0)
"""Smallest and largest k of `_Scores`."""
_FEW = 2
"""Number of trials at which the observed level of a search weighs as much as the prior level of 0."""
_SCORE, _SECOND = "score", "second"
"""Metrics of simulated trials."""
_NOWHERE = Path()
"""Folder of trials that write nothing."""
_MIN_FOR_SPREAD = 3
"""Least number of trials for a standard deviation of their scores."""
_SPEED_SPREAD = 0.1
"""Standard deviation of the logarithm of a trial's seconds per iteration."""


class Interval(NamedTuple):
    """An estimated number with an interval."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class SearchEstimate:
    """The training that remains until every trial has ended."""

    iterations: Interval
    """Iterations of all trials together; shared iterations count once."""
    elapsed: Interval
    """Wall-clock duration with parallel trials, in iterations of a single trial."""
    full_trials: Interval
    """Number of trials that will have reached the full budget, including those that already have."""
    confirm_iterations: int
    """Iterations of the trainings with new seeds that follow (`search.confirm`); 0 without."""
    confirm_elapsed: int
    """Wall-clock duration of these trainings, in iterations of a single trial."""


def estimate_search(spec: SearchSpec, history: History | None = None, *, concurrent: int = 1) -> SearchEstimate | None:
    """Return an estimate of what a search still has to train; the draws depend on the search's seed.

    Args:
        spec: The search.
        history: The search so far; None: it has not started.
        concurrent: Number of trials that run at the same time.

    Returns:
        The estimate; None if the full budget of a trial is unknown because nothing states it and no trial has
        completed.
    """
    history = history or History()
    plan = _plan(spec, history, concurrent)
    if plan is None:
        return None
    sequence = np.random.SeedSequence([spec.search.seed, len(history.trials)])
    outcomes = [_simulate(plan, np.random.default_rng(seed)) for seed in sequence.spawn(NUM_SIMULATIONS)]
    columns = np.array(outcomes).T
    iterations, elapsed, full = (Interval(*np.quantile(column, QUANTILES).tolist()) for column in columns)
    trainings = _num_confirmations(spec, plan.num_known + plan.num_new)
    each = plan.places[-1] if trainings else 0
    rounds = math.ceil(trainings / concurrent)
    return SearchEstimate(iterations, elapsed, full, trainings * each, rounds * each)


@dataclass(frozen=True)
class _Plan:
    """The facts that all simulations of a search share."""

    spec: SearchSpec
    places: tuple[int, ...]
    """Iterations at which trials are compared; the last one is the full budget."""
    known: tuple[TrialHistory, ...]
    """Trials so far in the order in which they ended, running ones last. If very many have ended, only some are kept,
    and these are numbered anew.
    """
    num_known: int
    """Number of all trials so far."""
    num_full: int
    """Number of trials so far that have reached the full budget."""
    num_new: int
    """Number of trials that are still to be started."""
    lost: tuple[int, ...]
    """Iterations of the trials so far that failed or were infeasible."""
    num_ended: int
    """Number of trials that have ended in any way."""
    concurrent: int
    shared_iters: int
    num_groups: int | None
    """Number of different beginnings, each shared by a group of trials; None: every trial has its own."""
    slack: float | None
    """Slack in standard deviations of the score; None if unknown."""
    mode: Mode


def _plan(spec: SearchSpec, history: History, concurrent: int) -> _Plan | None:
    ended = sorted((t for t in history.trials if t.status != "running"), key=lambda trial: trial.end_order or 0)
    running = [trial for trial in history.trials if trial.status == "running"]
    completed = [trial.last.iteration for trial in ended if trial.status == "completed" and trial.last]
    max_iters = spec.max_iters or max(completed, default=None)
    if max_iters is None:
        return None
    num_full = sum(bool(trial.last and trial.last.iteration >= max_iters) for trial in history.trials)
    target = history.target_trials or spec.search.trials
    shared_iters, num_groups = shared_beginnings(spec)
    lost = [trial for trial in ended if trial.status in ("failed", "infeasible")]
    kept = [*ended[:: max(1, len(ended) // _MAX_SIMULATED)], *running]
    numbers = {number: index for index, number in enumerate(sorted(trial.number for trial in kept))}
    return _Plan(
        spec=spec,
        places=tuple(i for i in _places(spec, history, max_iters) if i > shared_iters),
        known=tuple(replace(trial, number=numbers[trial.number]) for trial in kept),
        num_known=len(history.trials),
        num_full=num_full,
        num_new=max(0, num_startable(spec, target) - len(history.trials)),
        lost=tuple(trial.last.iteration if trial.last else 0 for trial in lost),
        num_ended=len(ended),
        concurrent=concurrent,
        shared_iters=shared_iters,
        num_groups=num_groups,
        slack=_slack(spec, history),
        mode=spec.objectives[0].mode,
    )


def _places(spec: SearchSpec, history: History, max_iters: int) -> list[int]:
    """Return the iterations of the reports that a scheduler compares: the first from each rung on, or a selection."""
    every = _report_iters(spec, history)
    rungs = rungs_of(spec)
    places = {min(math.ceil(rung / every) * every, max_iters) for rung in rungs} | {max_iters}
    if spec.scheduler.name in ("median", "pasha") or spec.scheduler.is_learned:
        reports = range(every, max_iters, every)
        places |= {reports[i] for i in np.linspace(0, len(reports) - 1, min(len(reports), _MAX_COMPARED), dtype=int)}
    return sorted(places)


def _report_iters(spec: SearchSpec, history: History) -> int:
    """Return the number of iterations between two reports."""
    config = spec.trainable.config_of(spec.config)
    if isinstance(config, HasReportIters) and callable(config.report_iters):
        return config.report_iters()
    return min((min(trial.reports) for trial in history.trials if trial.reports), default=1)


def _slack(spec: SearchSpec, history: History) -> float | None:
    slack = spec.scheduler.slack
    if slack == "auto":
        return None
    if slack == 0.0:
        return 0.0
    by_iteration: dict[int, list[float]] = {}
    for trial in history.trials:
        for iteration, report in trial.reports.items():
            by_iteration.setdefault(iteration, []).append(report.value)
    most = max(by_iteration.values(), key=len, default=[])
    spread = float(np.std(most)) if len(most) >= _MIN_FOR_SPREAD else 0.0
    return slack / spread if spread > 0.0 else None


def _num_confirmations(spec: SearchSpec, num_trials: int) -> int:
    """Return the number of trainings after the search: of the best trials and the default, which may be one of them."""
    settings = spec.search.confirm
    return 0 if settings is None else min(settings.top + 1, num_trials) * settings.seeds


def _simulate(plan: _Plan, rng: np.random.Generator) -> tuple[float, float, float]:
    """Simulate the rest of one search, and count.

    The search itself decides; its trials train in a world of random scores.

    Returns:
        The number of iterations, the wall-clock duration in iterations, and the number of trials at the full budget.
    """
    spec = _simulated_spec(plan, rng)
    world = _World(plan, rng)
    search = Search(spec, MemoryRecord(world.facts(spec)), _candidates)
    executor = SimulatedExecutor(world, plan.concurrent)
    executor.run(SearchLoop(search, lambda proposal: _assignment(proposal.number), watch=lambda changed: None))
    return world.counted(executor.now)


def _candidates(spec: SearchSpec, history: History) -> Candidate:
    """Return a trial with arbitrary values."""
    return Candidate({}, is_default=not history.trials and spec.trainable.config_model is not None)


def _assignment(number: int) -> Assignment:
    return Assignment(number, title="", config={}, folder=_NOWHERE, shared_folder=None, reports=())


class _World:
    """Trials with random scores, with time in iterations of a single trial; the trials so far keep their state."""

    def __init__(self, plan: _Plan, rng: np.random.Generator) -> None:
        self._plan, self._rng = plan, rng
        self._scores = _Scores(plan, rng)
        self._reached = {trial.number: trial.last.iteration if trial.last else 0 for trial in plan.known}
        """Iteration of the last report by trial."""
        self._speeds: dict[int, float] = {}
        num_lost = len(plan.lost)
        self._lost_share = rng.beta(num_lost, plan.num_ended - num_lost + 1) if num_lost else 0.0
        self._groups_ready: dict[int, float] = dict.fromkeys(range(min(plan.num_groups or 0, plan.num_known)), 0.0)
        self._trained: dict[int, float] = dict.fromkeys(self._reached, 0.0)
        """Iterations trained by each trial from now on."""
        self._num_full = plan.num_full

    def facts(self, spec: SearchSpec) -> Iterator[Fact]:
        """Yield the facts of a search in the same state, with scores of this world."""
        plan = self._plan
        target = len(plan.known) + min(plan.num_new, _MAX_SIMULATED)
        further = tuple((objective.metric, objective.mode) for objective in spec.objectives[1:])
        yield Fact(Begun(spec.name, "max", target, further=further), None, 0.0)
        for trial in sorted(plan.known, key=lambda trial: trial.number):
            yield Fact(Started({}, {}, {}, trial.is_default, trial.is_audited), None, 0.0)
        for trial in plan.known:
            reached = [place for place in plan.places if place <= self._reached[trial.number]]
            for place in reached:
                yield Fact(self._report(trial.number, place), trial.number, 0.0)
            if trial.is_paused:
                yield Fact(Paused(), trial.number, 0.0)
            elif trial.status != "running" or len(reached) == len(plan.places):
                yield Fact(Ended("stopped"), trial.number, 0.0)
            else:
                yield Fact(TakenUp(), trial.number, 0.0)  # it continues, whatever its scores would mean

    def begin(self, assignment: Assignment, now: float) -> Leg:
        """Train to the first report, or to the point where a new trial is lost."""
        number = assignment.number
        if number not in self._reached and self._rng.random() < self._lost_share:
            self._trained[number] = lost_after = float(self._rng.choice(self._plan.lost))
            return Leg(now + lost_after, Ended("infeasible"))
        return self.go_on(number, now)

    def go_on(self, number: int, now: float) -> Leg:
        """Train to the next report."""
        plan = self._plan
        start = self._reached.setdefault(number, 0)
        self._trained.setdefault(number, 0.0)
        if number not in self._speeds:
            self._speeds[number] = math.exp(self._rng.normal(0.0, _SPEED_SPREAD))
        speed = self._speeds[number]
        if start == 0 and plan.shared_iters and plan.num_groups is not None:
            group = int(self._rng.integers(plan.num_groups))
            if group in self._groups_ready:
                start, now = plan.shared_iters, max(now, self._groups_ready[group])
            else:
                self._groups_ready[group] = now + plan.shared_iters * speed
        end = plan.places[bisect_right(plan.places, start)]
        self._trained[number] += end - start
        self._reached[number] = end
        self._num_full += end == plan.places[-1]
        return Leg(now + (end - start) * speed, self._report(number, end))

    def _report(self, number: int, iteration: int) -> Report:
        second = {_SECOND: self._scores.second(number)} if self._plan.spec.scheduler.by == "nondominated_rank" else {}
        score = self._scores.at(number, iteration)
        return Report(iteration, score, second, checkpoint=None, seconds=0.0, done=False)

    def counted(self, now: float) -> tuple[float, float, float]:
        """Return the results at the end, with the trials added that were too many to simulate."""
        plan = self._plan
        trained, rest = sum(self._trained.values()), plan.num_new - min(plan.num_new, _MAX_SIMULATED)
        full: float = self._num_full
        if rest > 0:
            first = len(plan.known) + _MAX_SIMULATED // 2
            later = range(first, len(plan.known) + _MAX_SIMULATED)
            more = rest * float(np.mean([self._trained.get(number, 0.0) for number in later]))
            full += rest * float(np.mean([self._reached.get(number, 0) == plan.places[-1] for number in later]))
            trained, now = trained + more, now + more / plan.concurrent
        return trained, now, full


class _Scores:
    """Random scores in standard deviations that correlate with the final ones and keep the order of the trials so far.

    At a fraction f of the budget, a score is a mixture of the trial's own quality, which is its final score, and of a
    part that only this report has. The weight of the quality, f^k, is the correlation with the final score. With k = 0
    early scores equal the final ones; with a large k they are independent of them.
    """

    def __init__(self, plan: _Plan, rng: np.random.Generator) -> None:
        self._rng = rng
        self._exponent = math.exp(rng.uniform(math.log(_EXPONENTS[0]), math.log(_EXPONENTS[1])))
        self._budget = plan.places[-1]
        learns = plan.spec.search.algorithm not in ("random", "qmc", "grid")
        self._gain = rng.uniform(*_GAINS) if learns else 0.0
        sign = 1.0 if plan.mode == "max" else -1.0
        far = {t.number: (t.last.iteration, sign * t.last.value) for t in plan.known if t.last}
        self._quality = {
            number: self._mixed(far[number][0] / self._budget, score, self._rng.normal())
            for number, score in _normal_scores(far).items()
        }
        self._second: dict[int, float] = {}
        self._own = {place: _normal_scores(_values_at(plan.known, place, sign)) for place in plan.places}
        self._num_left_out = plan.num_known - len(plan.known)
        """Difference between the number of a new trial in the search and its number here."""
        later = len(plan.known) // 2
        self._level = _level(self._quality, later) if learns else 0.0
        self._own_levels = {place: _level(own, later) if learns else 0.0 for place, own in self._own.items()}
        """Level that the later half of the trials so far has reached, at which new trials start."""
        so_far = np.arange(plan.num_known // 2, max(1, plan.num_known))
        self._gained = float(np.mean(self._gain * (1.0 - np.exp(-so_far / _LEARNING_TRIALS))))

    def at(self, number: int, iteration: int) -> float:
        """Return a trial's score at one of the places; larger is better."""
        if number not in self._quality:
            gain = self._gain * (1.0 - math.exp(-(number + self._num_left_out) / _LEARNING_TRIALS)) - self._gained
            self._quality[number] = self._rng.normal() + self._level + gain
        if number not in self._own[iteration]:
            self._own[iteration][number] = self._rng.normal() + self._own_levels[iteration]
        own = self._own[iteration][number]
        return self._mixed(iteration / self._budget, self._quality[number], own)

    def _mixed(self, fraction: float, known: float, other: float) -> float:
        """Return the mixture of a final score and another part at a fraction of the budget, or the inverse."""
        weight = min(1.0, fraction**self._exponent)
        return float(weight * known + math.sqrt(1.0 - weight**2) * other)

    def second(self, number: int) -> float:
        """Return a trial's loss by a second objective, which is random."""
        return self._second.setdefault(number, self._rng.normal())


def _simulated_spec(plan: _Plan, rng: np.random.Generator) -> SearchSpec:
    """Return the search for scores in standard deviations, of which larger ones are better."""
    slack = rng.uniform(0.0, 1.0) if plan.slack is None else plan.slack
    objectives = [Objective(metric=_SCORE, mode="max")]
    if plan.spec.scheduler.by == "nondominated_rank":
        objectives.append(Objective(metric=_SECOND, mode="min"))
    return replace(
        plan.spec,
        scheduler=plan.spec.scheduler.model_copy(update={"slack": slack}),
        objectives=tuple(objectives),
        constraints=(),
        max_iters=plan.places[-1],
    )


def _values_at(trials: Sequence[TrialHistory], iteration: int, sign: float) -> dict[int, float]:
    """Return the values of the first reports at or after an iteration, by trial; larger is better."""
    values = {}
    for trial in trials:
        reported = [i for i in trial.reports if i >= iteration]
        if reported:
            values[trial.number] = sign * trial.reports[min(reported)].value
    return values


def _level(scores: Mapping[int, float], first: int) -> float:
    """Return the mean score of the trials from a number on, shrunk towards 0 if they are few."""
    later = [score for number, score in scores.items() if number >= first]
    return sum(later) / (len(later) + _FEW)


def _normal_scores(values: Mapping[int, Any]) -> dict[int, float]:
    """Return quantiles of the standard normal distribution in the order of some values."""
    ranked = sorted(values, key=lambda number: values[number])
    scores = norm.ppf((np.arange(len(ranked)) + 0.5) / max(1, len(ranked)))
    return dict(zip(ranked, scores.tolist(), strict=True))
