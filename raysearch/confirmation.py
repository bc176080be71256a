"""What the best configs score with new seeds, and how sure their differences are: `confirmed.parquet` as numbers."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import stdtrit

from raysearch.journal import History, TrialHistory
from raysearch.records import write_table
from raysearch.run_dir import RunDir

CONFIDENCE = 0.95
"""How often such an interval holds the true difference. No correction is made for choosing the best of several."""

_SCHEMA = pa.schema([("trial", pa.int64()), ("seed", pa.int64()), ("value", pa.float64()), ("iteration", pa.int64())])


@dataclass(frozen=True)
class ConfirmedTrial:
    """One config, trained to the full budget with every seed."""

    number: int
    """Of the trial that the config is of."""
    iteration: int
    """The full budget, where the values were reported."""
    values: tuple[float, ...]
    """The metric at the last report, seed by seed."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over the seeds; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Difference:
    """What one config scores less another, seed by seed."""

    mean: float
    interval: tuple[float, float] | None
    """Of Student's t over the seeds; None for a single one."""

    @property
    def distinguishable(self) -> bool:
        """Whether the interval is there and leaves 0 out."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]


def paired_difference(one: ConfirmedTrial, other: ConfirmedTrial) -> Difference:
    """The mean of `one` less `other` over the seeds they share, with its Student t interval.

    Both configs saw the same seeds, so what a seed does to both cancels (a paired t interval: the mean of the n
    differences, more or less t of (1 + CONFIDENCE) / 2 at n - 1 degrees of freedom times their standard error).
    """
    differences = [a - b for a, b in zip(one.values, other.values, strict=True)]
    mean, count = statistics.fmean(differences), len(differences)
    if count == 1:
        return Difference(mean, None)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    half_width = quantile * statistics.stdev(differences) / math.sqrt(count)
    return Difference(mean, (mean - half_width, mean + half_width))


@dataclass(frozen=True)
class Confirmation:
    """The confirmed configs, the best mean first."""

    top: int
    """So many of the search's best trials were confirmed, besides the default."""
    seeds: tuple[int, ...]
    trials: tuple[ConfirmedTrial, ...]
    """Those that reached the full budget with every seed; the earlier trial of equals first."""
    diverged: tuple[int, ...]
    """Numbers of the trials whose config did not."""
    default_number: int | None
    """The trial of the default config; None where the search has none."""

    @property
    def best(self) -> ConfirmedTrial:
        """The config with the best mean, which may be the default."""
        return self.trials[0]

    @property
    def runner_up(self) -> ConfirmedTrial | None:
        """The config with the second best mean."""
        return self.trials[1] if len(self.trials) > 1 else None

    @property
    def default(self) -> ConfirmedTrial | None:
        """The default config; None where it was not confirmed."""
        return next((trial for trial in self.trials if trial.number == self.default_number), None)

    def lead_over(self, other: ConfirmedTrial | None) -> Difference | None:
        """What the best scores less another; None beside itself or nothing."""
        return None if other is None or other is self.best else paired_difference(self.best, other)


def write_confirmed(rows: Sequence[Mapping[str, Any]], top: int, run_dir: RunDir) -> None:
    """Write `confirmed.parquet`: `trial`, `seed`, `value` (null where the training diverged), `iteration`."""
    table = pa.Table.from_pylist(list(rows), _SCHEMA.with_metadata({"top": str(top)}))
    write_table(table, run_dir.confirmed_table)


def read_confirmation(run_dir: RunDir, history: History) -> Confirmation | None:
    """What `confirmed.parquet` says; None where nothing was confirmed."""
    if not run_dir.confirmed_table.is_file():
        return None
    table = pq.read_table(run_dir.confirmed_table)
    rows = table.to_pylist()
    default = next((trial.number for trial in history.trials if trial.is_default), None)
    trials, diverged = [], []
    for number in dict.fromkeys(row["trial"] for row in rows):
        own = sorted((row for row in rows if row["trial"] == number), key=lambda row: int(row["seed"]))
        if any(row["value"] is None for row in own):
            diverged.append(number)
        else:
            trials.append(ConfirmedTrial(number, own[0]["iteration"], tuple(row["value"] for row in own)))
    if not trials:
        return None
    return Confirmation(
        top=int(table.schema.metadata[b"top"]),
        seeds=tuple(sorted({row["seed"] for row in rows})),
        trials=tuple(_ranked(trials, history)),
        diverged=tuple(diverged),
        default_number=default,
    )


def _ranked(trials: Sequence[ConfirmedTrial], history: History) -> list[ConfirmedTrial]:
    """By their means; what broke a constraint in the search comes after all that held every one."""
    sign = 1.0 if history.mode == "min" else -1.0

    def key(trial: ConfirmedTrial) -> tuple[bool, float, int]:
        return not history.is_admissible(history.trials[trial.number]), sign * trial.mean, trial.number

    return sorted(trials, key=key)


def winning_trial(history: History, confirmation: Confirmation | None) -> TrialHistory | None:
    """The trial whose config the run hands over: the best confirmed one, else the search's own pick."""
    return history.best_trial() if confirmation is None else history.trials[confirmation.best.number]


def confirmed_entry(confirmation: Confirmation, metric: str, history: History) -> dict[str, Any]:
    """The entry `confirmed` of `best_config.json`'s block."""
    best, runner_up, default = confirmation.best, confirmation.runner_up, confirmation.default
    to_default, to_runner_up = confirmation.lead_over(default), confirmation.lead_over(runner_up)
    pick = history.best_trial()
    return {
        "metric": metric,
        "mean": best.mean,
        "std": best.std,
        "seeds": list(confirmation.seeds),
        "top": confirmation.top,
        "trial": best.number,
        "iteration": best.iteration,
        "search_trial": pick.number if pick else None,
        "confidence": CONFIDENCE,
        "default_mean": default.mean if default else None,
        **_difference_entry("default", to_default),
        "runner_up": runner_up.number if runner_up else None,
        "runner_up_mean": runner_up.mean if runner_up else None,
        **_difference_entry("runner_up", to_runner_up),
    }


def _difference_entry(name: str, difference: Difference | None) -> dict[str, Any]:
    interval = difference.interval if difference else None
    return {
        f"difference_to_{name}": difference.mean if difference else None,
        f"interval_to_{name}": list(interval) if interval else None,
        f"distinguishable_from_{name}": difference.distinguishable if difference and interval else None,
    }


def verdict(difference: Difference) -> str:
    """A difference of the best to another in words: the number, its interval, and what that says."""
    if difference.interval is None:
        return f"{difference.mean:+.4g}, one seed has no interval: not distinguishable"
    low, high = difference.interval
    what = "better" if difference.distinguishable else "not distinguishable"
    return f"{difference.mean:+.4g}, {CONFIDENCE:.0%} interval {low:+.4g} to {high:+.4g}: {what}"
