"""Importance of every searched value for the score: fANOVA and PED-ANOVA at one common iteration, with intervals."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import optuna
import pyarrow as pa
from numpy.typing import NDArray
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from raysearch.config.choices import for_optuna, label
from raysearch.history.history import History, TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_table
from raysearch.results.fanova import fanova, place_of
from trainables.protocol import TOOK_EFFECT

optuna.logging.set_verbosity(optuna.logging.WARNING)

MIN_TRIALS = 10
"""Least number of trials: with fewer, the best quarter would hold less than three."""

BEST = 0.25
"""Share of the trials that PED-ANOVA treats as good."""

_ENOUGH = 0.75
"""Share of the trials that must have reached the iteration at which they are compared.

The few trials that early stopping leaves resemble each other too much to show what made them good.
"""

_NUM_DRAWS = 40
"""Number of bootstrap draws of the trials."""
_MOST_DRAWN = 400
"""Largest number of trials in a draw: this bounds the time, but makes the intervals of longer searches too wide."""
_NUM_TREES, _NUM_TREES_OF_DRAW = 64, 8

_SURE = 0.95
"""Share of the draws in which a value must have a larger share than after shuffling to count as an effect."""

Method = Literal["fanova", "ped_anova"]
Verdict = Literal["effect", "no effect shown", "took no effect"]
Floats = NDArray[np.float64]

_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("method", pa.string()),
        ("share", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("iteration", pa.int64()),
        ("verdict", pa.string()),
    ]
)


@dataclass(frozen=True)
class Importance:
    """The importance of one searched value by one method."""

    path: str
    method: Method
    share: float
    """Share of the score's variance that the value explains by itself (fANOVA), or share of the difference between the
    best quarter of the trials and all trials (PED-ANOVA).
    """
    interval: tuple[float, float]
    """Bootstrap interval over the trials, 95 %."""
    verdict: Verdict
    """Conclusion. `took no effect`: the value had no effect in any trial, as counted by the trainable. `no effect
    shown`: the effect cannot be told from chance, because in more than one of twenty draws the shuffled values had as
    large a share.
    """


@dataclass(frozen=True)
class Importances:
    """The importance of every searched value by both methods."""

    num_trials: int
    """Number of trials that were compared, or that could be compared if there were enough."""
    iteration: int | None
    """Iteration at which trials were compared; None with too few trials."""
    rows: tuple[Importance, ...]
    """Importances by method, the largest share first; empty if no trials were compared."""
    idle: tuple[tuple[str, int], ...]
    """Searched values that had no effect in any iteration of any trial, with the number of trials that count this."""

    def of(self, method: Method) -> dict[str, Importance]:
        """Return the importances of one method by path."""
        return {row.path: row for row in self.rows if row.method == method}


@dataclass(frozen=True)
class CommonIteration:
    """Trials compared at an iteration that most of them have reached."""

    num_scored: int
    """Number of trials that have reported and neither failed nor were infeasible."""
    iteration: int
    values: tuple[tuple[TrialHistory, float], ...]
    """Trials that have reached the iteration, each with the value of its first report there or later."""


def at_common_iteration(history: History) -> CommonIteration | None:
    """Return the scores of trials at the latest iteration that three quarters of them have reached.

    At least `MIN_TRIALS` trials, or all, must have reached it. The iteration is the same for all trials, stopped ones
    included. The result is None if no trial has a score.
    """
    scored = [trial for trial in history.trials if trial.reports and trial.status not in ("failed", "infeasible")]
    if not scored:
        return None
    furthest = sorted((max(trial.reports) for trial in scored), reverse=True)
    num_reached = min(len(scored), max(MIN_TRIALS, int(np.ceil(_ENOUGH * len(scored)))))
    iteration = furthest[num_reached - 1]
    values = tuple(
        (trial, trial.reports[min(reported for reported in trial.reports if reported >= iteration)].value)
        for trial in scored
        if max(trial.reports) >= iteration
    )
    return CommonIteration(len(scored), iteration, values)


def importances(history: History, paths: Sequence[str]) -> Importances:
    """Return the shares of searched values in the score of trials at equal iterations.

    The iteration is the latest that three quarters of the trials, and at least `MIN_TRIALS`, have reached. A trial's
    score is the value of its first report there or later, as in the rules of early stopping. Both methods use fixed
    seeds, so the same journal gives the same shares.

    Args:
        history: The search.
        paths: The searched paths.
    """
    idle = idle_values(history, paths)
    common = at_common_iteration(history)
    if common is None or common.num_scored < MIN_TRIALS:
        return Importances(common.num_scored if common else 0, None, (), idle)
    iteration, compared = common.iteration, [trial for trial, _ in common.values]
    values = np.array([value for _, value in common.values])
    known = [path for path in paths if any(path in trial.params for trial in compared)]
    methods: dict[Method, _Shares] = {
        "fanova": partial(_fanova_shares, np.array([[_place(trial, path) for path in known] for trial in compared])),
        "ped_anova": partial(_ped_anova_shares, compared, known, history.mode == "min"),
    }
    never = {path for path, _ in idle}
    rows = [row for method, shares in methods.items() for row in _judged(method, known, shares, values, never)]
    return Importances(len(compared), iteration, tuple(rows), idle)


def idle_values(history: History, paths: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return the searched values that never had an effect, with the number of trials that count their effect.

    A trial counts the effect of a value if each of its reports says how often the value had an effect since the
    previous one.
    """
    idle = []
    for path in paths:
        key = f"{TOOK_EFFECT}/{path}"
        counting = [
            trial
            for trial in history.trials
            if path in trial.values and trial.reports and all(key in r.metrics for r in trial.reports.values())
        ]
        if counting and not any(report.metrics[key] for trial in counting for report in trial.reports.values()):
            idle.append((path, len(counting)))
    return tuple(idle)


def write_importances(found: Importances, run_dir: RunDir) -> None:
    """Write `importance.parquet`, with one row per searched value and method; do nothing if no trials were compared."""
    if not found.rows:
        return
    rows = [
        {
            "path": row.path,
            "method": row.method,
            "share": row.share,
            "low": row.interval[0],
            "high": row.interval[1],
            "iteration": found.iteration,
            "verdict": row.verdict,
        }
        for row in found.rows
    ]
    write_table(pa.Table.from_pylist(rows, _SCHEMA), run_dir.importance_table)


_Shares = Callable[[Floats, NDArray[np.int64] | None, np.random.Generator], tuple[Floats, Floats]]
"""Function that computes the shares of the searched values and of their shuffled versions, (d,) each.

It takes the scores of all trials (n,), the indices of the drawn trials, and a generator. With None as indices it uses
every trial once and shuffles nothing.
"""


def _judged(method: Method, paths: Sequence[str], shares: _Shares, values: Floats, never: set[str]) -> list[Importance]:
    """Return the shares over all trials, with the intervals and conclusions from the draws.

    A draw contains fewer different trials than there are, so a method sees less in it. The interval is therefore the
    spread of the draws, centred on the share over all trials.
    """
    if not paths:
        return []
    found, _ = shares(values, None, np.random.default_rng(0))
    drawn, is_above = [], []
    for number in range(_NUM_DRAWS):
        rng = np.random.default_rng([1, number])
        of_draw, of_shuffled = shares(values, rng.integers(len(values), size=min(len(values), _MOST_DRAWN)), rng)
        drawn.append(of_draw)
        is_above.append(of_draw > of_shuffled)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0) - np.mean(drawn, axis=0) + found
    sureness = np.mean(is_above, axis=0)
    rows = [
        Importance(
            path=path,
            method=method,
            share=float(found[i]),
            interval=(float(np.clip(low[i], 0.0, found[i])), float(np.clip(high[i], found[i], 1.0))),
            verdict="took no effect" if path in never else "effect" if sureness[i] >= _SURE else "no effect shown",
        )
        for i, path in enumerate(paths)
    ]
    return sorted(rows, key=lambda row: -row.share)


# fANOVA.


def _fanova_shares(
    places: Floats, values: Floats, drawn: NDArray[np.int64] | None, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the fANOVA shares over the unit cube of the search; an inactive value (NaN) is replaced by a random one.

    The score is a function on the whole cube that does not change along a value whose condition does not hold. A
    constant replacement would reveal the condition to the forest.
    """
    points = np.where(np.isnan(places), rng.random(places.shape), places)
    num_paths = points.shape[1]
    if drawn is None:
        return fanova(points, values, num_trees=_NUM_TREES, seed=0), np.zeros(num_paths)
    shuffled = rng.permuted(points, axis=0)
    seed = int(rng.integers(2**31))
    both = np.concatenate([points, shuffled], axis=1)[drawn]
    shares = fanova(both, values[drawn], num_trees=_NUM_TREES_OF_DRAW, seed=seed)
    return shares[:num_paths], shares[num_paths:]


def _place(trial: TrialHistory, path: str) -> float:
    """Return the position of a value in [0, 1]; NaN if it is inactive."""
    return place_of(trial.distributions[path], trial.params[path]) if path in trial.params else float("nan")


# PED-ANOVA.


def _ped_anova_shares(
    trials: Sequence[TrialHistory],
    paths: Sequence[str],
    is_min: bool,
    values: Floats,
    drawn: NDArray[np.int64] | None,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Return the shares of PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv 2304.10255) by Optuna's implementation.

    Optuna's version supports conditional values. The method treats one value at a time, so shuffling the scores is the
    same as shuffling the values of a parameter among the trials.
    """
    sample = _Sample(trials, range(len(trials)) if drawn is None else drawn.tolist())
    losses = values if is_min else -values
    own = _divergences(sample, paths, losses)
    total = own.sum()
    if total <= 0.0:
        return np.zeros(len(paths)), np.zeros(len(paths))
    if drawn is None:
        return own / total, np.zeros(len(paths))
    return own / total, _divergences(sample, paths, rng.permutation(losses)) / total


def _divergences(sample: "_Sample", paths: Sequence[str], losses: Floats) -> Floats:
    """Return the divergence between the best trials' values and all trials' values of each path, (d,)."""
    present = [path for path in paths if any(path in trial.params for trial in sample.drawn)]
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the intervals already show that few trials say little
        found = evaluator.evaluate(sample, present, target=lambda trial: float(losses[trial.number]))
    return np.array([found.get(path, 0.0) for path in paths])


class _Sample(Study):
    """A study of trials drawn with repetition; copying them to a storage would take longer than the analysis."""

    def __init__(self, trials: Sequence[TrialHistory], drawn: Sequence[int]) -> None:
        storage = InMemoryStorage()
        storage.create_new_study([StudyDirection.MINIMIZE], "sample")
        super().__init__("sample", storage)
        frozen = {
            number: FrozenTrial(
                number=number,
                state=TrialState.COMPLETE,
                value=0.0,
                datetime_start=None,
                datetime_complete=None,
                params={name: label(value) for name, value in trials[number].params.items()},
                distributions={name: for_optuna(one) for name, one in trials[number].distributions.items()},
                user_attrs={},
                system_attrs={},
                intermediate_values={},
                trial_id=number,
            )
            for number in set(drawn)
        }
        self.drawn = [frozen[number] for number in drawn]

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Return the drawn trials; all of them are complete."""
        return self.drawn
