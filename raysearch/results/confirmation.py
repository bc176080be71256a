"""What the best configs score with new seeds, and how sure their differences are: `confirmed.parquet` as numbers."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import studentized_range

from raysearch.history.events import Mode
from raysearch.history.history import History, TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_table
from raysearch.space.confirm_settings import Split

CONFIDENCE = 0.95
"""How often the intervals of all differences between the confirmed configs hold the true ones, all at once."""

_SCHEMA = pa.schema(
    [
        ("trial", pa.int64()),
        ("seed", pa.int64()),
        ("value", pa.float64()),
        ("iteration", pa.int64()),
        ("split", pa.string()),
        ("val_value", pa.float64()),
    ]
)


@dataclass(frozen=True)
class ConfirmedTrial:
    """One config, trained to the full budget with every seed."""

    number: int
    """Of the trial that the config is of."""
    iteration: int
    """The full budget, where the values were reported."""
    values: tuple[float, ...]
    """The confirmed metric after the full budget, seed by seed: of the images of the split."""
    val_values: tuple[float, ...]
    """The same of the validation images."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def val_mean(self) -> float:
        """The same of the validation images, by which the configs are ranked."""
        return statistics.fmean(self.val_values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over the seeds; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Difference:
    """What the best config scores less another, over the seeds."""

    mean: float
    interval: tuple[float, float] | None
    """None for a single seed."""
    is_better: bool
    """Whether the mean speaks for the best; on test images it may not."""

    @property
    def distinguishable(self) -> bool:
        """Whether the interval is there and leaves 0 out."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]


def tukey_half_width(scores: Sequence[Sequence[float]]) -> float | None:
    """Half the width of the intervals around the differences of all pairs of means; None for a single seed.

    The best is picked after the scores are known, out of several. Tukey's intervals hold for all pairs at once and so
    for the pair that is picked: q * sqrt(s^2 / n), with q the quantile of the studentized range of m configs, n seeds,
    and s^2 the residual variance of the scores less what the config and what the seed adds to them (a randomized
    block design; (m - 1)(n - 1) degrees of freedom). All configs saw the same seeds, so what a seed does to all
    cancels; that the rest is equally noisy in all configs is assumed. With two configs it is the paired t interval.

    Args:
        scores: (m, n), of two configs or more: the scores of each with every seed.
    """
    num_configs, num_seeds = len(scores), len(scores[0])
    if num_seeds == 1:
        return None
    of_config = [statistics.fmean(row) for row in scores]
    of_seed = [statistics.fmean(column) for column in zip(*scores, strict=True)]
    grand = statistics.fmean(of_config)
    residuals = [
        value - config - seed + grand
        for row, config in zip(scores, of_config, strict=True)
        for value, seed in zip(row, of_seed, strict=True)
    ]
    freedom = (num_configs - 1) * (num_seeds - 1)
    variance = math.fsum(residual**2 for residual in residuals) / freedom
    return _quantile(num_configs, freedom) * math.sqrt(variance / num_seeds)


@cache
def _quantile(num_configs: int, freedom: int) -> float:
    """The quantile of the studentized range, an integral that takes a tenth of a second."""
    return float(studentized_range.ppf(CONFIDENCE, num_configs, freedom))


@dataclass(frozen=True)
class Confirmation:
    """The confirmed configs, the best mean of the validation images first: test images do not choose."""

    mode: Mode
    split: Split
    """Of the images that the confirmed figures are of."""
    top: int
    """So many of the search's best trials were confirmed, besides the default."""
    seeds: tuple[int, ...]
    trials: tuple[ConfirmedTrial, ...]
    """Those that reached the full budget with every seed; the earlier trial of equals first."""
    diverged: tuple[int, ...]
    """Numbers of the trials whose config did not."""
    default_number: int | None
    """The trial of the default config; None where the search has none."""
    broken: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Number of a trial that cannot win -> the constraints that it broke in the search, in words."""

    @property
    def best(self) -> ConfirmedTrial:
        """The config with the best mean of the validation images, which may be the default."""
        return self.trials[0]

    @property
    def runner_up(self) -> ConfirmedTrial | None:
        """The config that comes second."""
        return self.trials[1] if len(self.trials) > 1 else None

    @property
    def default(self) -> ConfirmedTrial | None:
        """The default config; None where it was not confirmed."""
        return next((trial for trial in self.trials if trial.number == self.default_number), None)

    def lead_over(self, other: ConfirmedTrial | None) -> Difference | None:
        """What the best scores less another; None beside itself or nothing."""
        if other is None or other is self.best:
            return None
        mean, half_width = self.best.mean - other.mean, self._half_width
        interval = None if half_width is None else (mean - half_width, mean + half_width)
        return Difference(mean, interval, (mean > 0.0) == (self.mode == "max"))

    def passed_over(self) -> list[str]:
        """Why configs with a better mean of the validation images than the best are not the best, a line each."""
        sign = 1.0 if self.mode == "max" else -1.0
        return [
            f"trial {trial.number}{' (default)' if trial is self.default else ''} has the better mean, "
            f"{trial.val_mean:.4f} against {self.best.val_mean:.4f}, but broke a constraint in the search: "
            + "; ".join(self.broken[trial.number])
            for trial in self.trials
            if trial.number in self.broken and sign * (trial.val_mean - self.best.val_mean) > 0.0
        ]

    @cached_property
    def _half_width(self) -> float | None:
        return tukey_half_width([trial.values for trial in self.trials])


def write_confirmed(rows: Sequence[Mapping[str, Any]], top: int, run_dir: RunDir) -> None:
    """Write `confirmed.parquet`: a row a trial and seed.

    Columns: `trial`, `seed`, `value` (null where the training diverged), `iteration`, `split` (of the images that
    `value` is of) and `val_value` (of the validation images).
    """
    table = pa.Table.from_pylist(list(rows), _SCHEMA.with_metadata({"top": str(top)}))
    write_table(table, run_dir.confirmed_table)


def read_confirmation(run_dir: RunDir, history: History) -> Confirmation | None:
    """What `confirmed.parquet` says; None where nothing was confirmed."""
    if not run_dir.confirmed_table.is_file():
        return None
    table = pq.read_table(run_dir.confirmed_table)
    rows = [{"split": "val", "val_value": row["value"], **row} for row in table.to_pylist()]  # tables of before
    default = next((trial.number for trial in history.trials if trial.is_default), None)
    trials, diverged = [], []
    for number in dict.fromkeys(row["trial"] for row in rows):
        own = sorted((row for row in rows if row["trial"] == number), key=lambda row: int(row["seed"]))
        if any(row["value"] is None for row in own):
            diverged.append(number)
        else:
            values, val_values = (tuple(row[name] for row in own) for name in ("value", "val_value"))
            trials.append(ConfirmedTrial(number, own[0]["iteration"], values, val_values))
    if not trials:
        return None
    return Confirmation(
        mode=history.mode,
        split=rows[0]["split"],
        top=int(table.schema.metadata[b"top"]),
        seeds=tuple(sorted({row["seed"] for row in rows})),
        trials=tuple(_ranked(trials, history)),
        diverged=tuple(diverged),
        default_number=default,
        broken={
            trial.number: tuple(history.trials[trial.number].broken(history.mode))
            for trial in trials
            if not history.is_admissible(history.trials[trial.number])
        },
    )


def _ranked(trials: Sequence[ConfirmedTrial], history: History) -> list[ConfirmedTrial]:
    """By their means; what broke a constraint in the search comes after all that held every one."""
    sign = 1.0 if history.mode == "min" else -1.0

    def key(trial: ConfirmedTrial) -> tuple[bool, float, int]:
        return not history.is_admissible(history.trials[trial.number]), sign * trial.val_mean, trial.number

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
        "split": confirmation.split,
        "mean": best.mean,
        "std": best.std,
        "val_mean": best.val_mean,
        "seeds": list(confirmation.seeds),
        "top": confirmation.top,
        "trial": best.number,
        "iteration": best.iteration,
        "search_trial": pick.number if pick else None,
        "confidence": CONFIDENCE,
        "num_compared": len(confirmation.trials),
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
    what = ("better" if difference.is_better else "worse") if difference.distinguishable else "not distinguishable"
    return f"{difference.mean:+.4g}, {CONFIDENCE:.0%} interval {low:+.4g} to {high:+.4g}: {what}"


def lead_lines(confirmation: Confirmation) -> list[str]:
    """What the best scores less the default and less the runner-up, and why a better mean is not the best, in lines."""
    best, runner_up, default = confirmation.best, confirmation.runner_up, confirmation.default
    named = [("the default", default)]
    if runner_up is not None and runner_up is not default:
        named.append((f"the runner-up, trial {runner_up.number}", runner_up))
    leads = [(name, confirmation.lead_over(other)) for name, other in named]
    lines = [f"trial {best.number} to {name}: {verdict(lead)}" for name, lead in leads if lead is not None]
    return [*lines, *confirmation.passed_over()]
