"""Estimate of the iterations that a search trains, before it starts or from its present state, with an interval.

A rung promotes one trial in eta whatever the scores are, so this share is known. Two things are not known: how fast the
search learns (later trials that are better pass more often), and how well early scores predict final ones (which
decides how many trials `grace_iters: auto` stops, and which of the early trials passed too easily). Every simulation
draws both anew: before the start from no learning to fast learning and from no correlation to a full one, later as the
trials so far suggest. Trials then get random scores, and the search itself decides on them, with as many parallel
trials as there are in the search.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from raysearch.algorithms import num_startable
from raysearch.history.events import Begun, Ended, Mode, Paused, Report, Started, TakenUp
from raysearch.history.history import History, TrialHistory
from raysearch.history.journal import MemoryRecord
from raysearch.history.records import Fact
from raysearch.schedulers import rungs_of
from raysearch.schedulers.rung_audit import spearman
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
QUANTILES = (0.03, 0.5, 0.97)
"""Quantiles of the simulations that give the low end, the median and the high end of an interval.

The simulated searches are more alike than real ones: this range of them holds in about 80 % of real searches.
"""

_MAX_SIMULATED = 150
"""Largest number of trials in a simulation; further trials are assumed to be like the later half of these."""
_MAX_COMPARED = 6
"""Number of drawn reports of a trial, if a scheduler also uses reports between rungs."""
_LEARNING = (1.5, 0.5)
"""Shape and rate of the prior Gamma distribution of a of `_Scores`, whose mean is 3."""
_EXPONENTS = (0.03, 3.0)
"""Smallest and largest k of `_Scores` before trials have completed."""
_NUM_EXPONENTS = 40
"""Number of values of k among which one is drawn by how well it explains the trials so far."""
_FEW = 2
"""Number of trials as which the prior distribution of the scores counts."""
_SCORE, _SECOND = "score", "second"
"""Metrics of simulated trials."""
_NOWHERE = Path()
"""Folder of trials that write nothing."""
_MIN_FOR_SPREAD = 3
"""Least number of trials for a standard deviation of their scores."""
_SPEED_SPREAD = 0.3
"""Standard deviation of the logarithm of a trial's seconds per iteration, before it is known."""


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
    speeds: tuple[float, float]
    """Standard deviation of the logarithm of a trial's seconds per iteration, and standard error of their mean."""
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
        speeds=_speeds(history),
        slack=_slack(spec, history),
        mode=spec.objectives[0].mode,
    )


def _places(spec: SearchSpec, history: History, max_iters: int) -> list[int]:
    """Return the iterations of the reports that a scheduler compares: the first from each rung on, or a selection."""
    every = _report_iters(spec, history)
    rungs = rungs_of(spec)
    places = {min(math.ceil(rung / every) * every, max_iters) for rung in rungs} | {max_iters}
    if spec.scheduler.name in ("median", "pasha") or spec.scheduler.is_learned:
        wanted = np.geomspace(spec.grace_iters or 1, max_iters, _MAX_COMPARED)
        places |= {min(math.ceil(iteration / every) * every, max_iters) for iteration in wanted}
    return sorted(places)


def _report_iters(spec: SearchSpec, history: History) -> int:
    """Return the number of iterations between two reports."""
    config = spec.trainable.config_of(spec.config)
    if isinstance(config, HasReportIters) and callable(config.report_iters):
        return config.report_iters()
    return min((min(trial.reports) for trial in history.trials if trial.reports), default=1)


def _speeds(history: History) -> tuple[float, float]:
    """Return the spread of the speeds of the trials so far and the error of their mean; a few are not enough for it."""
    paces = [
        math.log(sum(report.seconds for report in trial.reports.values()) / trial.last.iteration)
        for trial in history.trials
        if trial.last and any(report.seconds > 0 for report in trial.reports.values())
    ]
    known = float(np.var(paces)) * len(paces) if paces else 0.0
    spread = math.sqrt((known + _FEW * _SPEED_SPREAD**2) / (len(paces) + _FEW))
    return spread, spread / math.sqrt(max(1, len(paces)))


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
        """Time of an iteration by trial, relative to the mean of the trials so far."""
        self._speed_spread, error = plan.speeds
        self._pace = math.exp(rng.normal(0.0, error))
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
            self._speeds[number] = self._pace * math.exp(self._rng.normal(0.0, self._speed_spread))
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
    """Random scores in standard deviations, larger being better; they keep the order of the trials so far.

    The score of a new trial at the first place is drawn by its quantile among all trials before it, which has the
    distribution Beta(a, 1). With a = 1, a search does not learn; with a larger a, later trials tend to be better. From
    place to place, scores are a Markov chain whose correlation between iterations s < t is (s / t)^k.
    """

    def __init__(self, plan: _Plan, rng: np.random.Generator) -> None:
        self._rng, self._places = rng, plan.places
        sign = 1.0 if plan.mode == "max" else -1.0
        known = [_values_at(plan.known, place, sign) for place in plan.places]
        learns = plan.spec.search.algorithm not in ("random", "qmc", "grid")
        self._learning = _drawn_learning(known[0], rng) if learns else 1.0
        self._exponent = _drawn_exponent(plan.places, known, rng)
        self._scores: list[dict[int, float]] = [_normal_scores(known[0])]
        """Scores by trial at every place."""
        for index, values in enumerate(known[1:], start=1):
            ranked = sorted(values, key=lambda number: values[number])
            drawn = sorted(self._continued(number, index) for number in ranked)
            self._scores.append(dict(zip(ranked, drawn, strict=True)))
        first = np.array(list(self._scores[0].values()))
        self._count, self._sum = len(first), float(first.sum())
        self._squares = float((first**2).sum())
        self._second: dict[int, float] = {}

    def at(self, number: int, iteration: int) -> float:
        """Return a trial's score at one of the places."""
        index = self._places.index(iteration)
        scores = self._scores[index]
        if number not in scores:
            scores[number] = self._continued(number, index) if index else self._new()
        return scores[number]

    def _new(self) -> float:
        """Draw the score of a new trial at the first place; a prior standard normal distribution counts as `_FEW`."""
        count = self._count + _FEW
        mean = self._sum / count
        spread = math.sqrt((self._squares + _FEW) / count - mean**2)
        score = mean + spread * float(ndtri(self._rng.uniform(1e-9, 1.0 - 1e-9) ** (1.0 / self._learning)))
        self._count, self._sum, self._squares = self._count + 1, self._sum + score, self._squares + score**2
        return score

    def _continued(self, number: int, index: int) -> float:
        """Draw the score of a trial at a place from that at the place before."""
        before = self._places[index - 1]
        correlation = (before / self._places[index]) ** self._exponent
        return float(correlation * self.at(number, before) + math.sqrt(1.0 - correlation**2) * self._rng.normal())

    def second(self, number: int) -> float:
        """Return a trial's loss by a second objective, which is random."""
        return self._second.setdefault(number, self._rng.normal())


def _drawn_learning(values: Mapping[int, float], rng: np.random.Generator) -> float:
    """Draw a of Beta(a, 1), given the scores of the trials so far at one iteration; the later half of them counts.

    If the quantiles of the trials among those before them are u, and a has the distribution Gamma(s, r), then a has the
    distribution Gamma(s + n, r - sum(log(u))) given them.
    """
    in_order = [values[number] for number in sorted(values)]
    shape, rate = _LEARNING
    for place in range(max(1, len(in_order) // 2), len(in_order)):
        num_worse = sum(before < in_order[place] for before in in_order[:place])
        shape, rate = shape + 1.0, rate - math.log((num_worse + 0.5) / (place + 1))
    return float(rng.gamma(shape, 1.0 / rate))


def _drawn_exponent(places: Sequence[int], known: Sequence[Mapping[int, float]], rng: np.random.Generator) -> float:
    """Draw k, given the rank correlation of the trials so far at the first place and at the last."""
    smallest, largest = _EXPONENTS
    drawn = np.exp(rng.uniform(math.log(smallest), math.log(largest), size=_NUM_EXPONENTS))
    both = [number for number in known[0] if number in known[-1]]
    found = spearman([known[0][n] for n in both], [known[-1][n] for n in both]) if len(places) > 1 else None
    if found is None:
        return float(drawn[0])
    expected = np.arctanh(np.clip((places[0] / places[-1]) ** drawn, 0.0, 0.99))
    behind = (expected - math.atanh(min(max(found[0], -0.99), 0.99))) ** 2 * (len(both) - 3)
    likelihood = np.exp(-0.5 * (behind - behind.min()))
    return float(rng.choice(drawn, p=likelihood / likelihood.sum()))


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


def _normal_scores(values: Mapping[int, Any]) -> dict[int, float]:
    """Return quantiles of the standard normal distribution in the order of some values."""
    ranked = sorted(values, key=lambda number: values[number])
    scores = ndtri((np.arange(len(ranked)) + 0.5) / max(1, len(ranked)))
    return dict(zip(ranked, scores.tolist(), strict=True))
