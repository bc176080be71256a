"""Scores of the best configs with new seeds, and confidence intervals of their differences (`confirmed.parquet`)."""

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
"""Simultaneous confidence level of the intervals of all differences between the confirmed configs."""

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
    """Number of the trial with this config."""
    iteration: int
    """Full budget, at which the values were reported."""
    values: tuple[float, ...]
    """Metric after the full budget on the images of the split, one value per seed."""
    val_values: tuple[float, ...]
    """Metric after the full budget on the validation images, one value per seed."""

    @property
    def mean(self) -> float:
        """Mean of the values over the seeds."""
        return statistics.fmean(self.values)

    @property
    def val_mean(self) -> float:
        """Mean over the seeds on the validation images, by which the configs are ranked."""
        return statistics.fmean(self.val_values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds; None for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Difference:
    """The difference in score between the best config and another, over the seeds."""

    mean: float
    interval: tuple[float, float] | None
    """Confidence interval; None for a single seed."""
    is_better: bool
    """True if the mean favours the best config, which is not certain on test images."""

    @property
    def distinguishable(self) -> bool:
        """True if there is an interval and it excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]


def tukey_half_width(scores: Sequence[Sequence[float]]) -> float | None:
    """Return half the width of the confidence intervals of all pairwise differences of means; None for a single seed.

    The best config is selected after the scores are known. Tukey's intervals hold for all pairs at once and therefore
    for the selected pair. The half width is q * sqrt(s^2 / n). Here q is the quantile of the studentized range of m
    configs, n is the number of seeds, and s^2 is the residual variance after the effects of config and seed are removed
    (a randomized block design with (m - 1)(n - 1) degrees of freedom). All configs use the same seeds, so a seed's
    common effect cancels. The remaining noise is assumed to be equal in all configs. With two configs the result is the
    paired t interval.

    Args:
        scores: (m, n), the scores of at least two configs with every seed.
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
    """Return the quantile of the studentized range; cached, because the integral takes a tenth of a second."""
    return float(studentized_range.ppf(CONFIDENCE, num_configs, freedom))


@dataclass(frozen=True)
class Confirmation:
    """The confirmed configs, ordered by their mean on the validation images: test images do not select the best."""

    mode: Mode
    split: Split
    """Images on which the confirmed scores were measured."""
    top: int
    """Number of the search's best trials that were confirmed, besides the default."""
    seeds: tuple[int, ...]
    trials: tuple[ConfirmedTrial, ...]
    """Configs that reached the full budget with every seed; of equal ones the earlier trial comes first."""
    diverged: tuple[int, ...]
    """Numbers of the trials whose training diverged with at least one seed."""
    default_number: int | None
    """Number of the default trial; None if the search has none."""
    broken: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Constraints that a trial violated in the search, by the trial's number; such a trial cannot win."""

    @property
    def best(self) -> ConfirmedTrial:
        """Config with the best mean on the validation images; it may be the default."""
        return self.trials[0]

    @property
    def runner_up(self) -> ConfirmedTrial | None:
        """Second best config."""
        return self.trials[1] if len(self.trials) > 1 else None

    @property
    def default(self) -> ConfirmedTrial | None:
        """Default config; None if it was not confirmed."""
        return next((trial for trial in self.trials if trial.number == self.default_number), None)

    def lead_over(self, other: ConfirmedTrial | None) -> Difference | None:
        """Return the difference between the best config and another; None if they are the same or there is no other."""
        if other is None or other is self.best:
            return None
        mean, half_width = self.best.mean - other.mean, self._half_width
        interval = None if half_width is None else (mean - half_width, mean + half_width)
        return Difference(mean, interval, (mean > 0.0) == (self.mode == "max"))

    def passed_over(self) -> list[str]:
        """Return the reasons why configs with a better mean on the validation images did not win, one line each."""
        sign = 1.0 if self.mode == "max" else -1.0
        return [
            f"trial {trial.number}{' (default)' if trial is self.default else ''} has a better mean, "
            f"{trial.val_mean:.4f} compared with {self.best.val_mean:.4f}, but broke a constraint in the search: "
            + "; ".join(self.broken[trial.number])
            for trial in self.trials
            if trial.number in self.broken and sign * (trial.val_mean - self.best.val_mean) > 0.0
        ]

    @cached_property
    def _half_width(self) -> float | None:
        return tukey_half_width([trial.values for trial in self.trials])


def write_confirmed(rows: Sequence[Mapping[str, Any]], top: int, run_dir: RunDir) -> None:
    """Write `confirmed.parquet`, with one row per trial and seed.

    Columns: `trial`, `seed`, `value` (null if the training diverged), `iteration`, `split` (the images on which `value`
    was measured) and `val_value` (measured on the validation images).
    """
    table = pa.Table.from_pylist(list(rows), _SCHEMA.with_metadata({"top": str(top)}))
    write_table(table, run_dir.confirmed_table)


def read_confirmation(run_dir: RunDir, history: History) -> Confirmation | None:
    """Return the confirmation in `confirmed.parquet`; None if nothing was confirmed."""
    if not run_dir.confirmed_table.is_file():
        return None
    table = pq.read_table(run_dir.confirmed_table)
    rows = [{"split": "val", "val_value": row["value"], **row} for row in table.to_pylist()]  # older tables
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
    """Return the configs ranked by their means; those that violated a constraint in the search come last."""
    sign = 1.0 if history.mode == "min" else -1.0

    def key(trial: ConfirmedTrial) -> tuple[bool, float, int]:
        return not history.is_admissible(history.trials[trial.number]), sign * trial.val_mean, trial.number

    return sorted(trials, key=key)


def winning_trial(history: History, confirmation: Confirmation | None) -> TrialHistory | None:
    """Return the trial whose config the run exports: the best confirmed one, else the best of the search."""
    return history.best_trial() if confirmation is None else history.trials[confirmation.best.number]


def confirmed_entry(confirmation: Confirmation, metric: str, history: History) -> dict[str, Any]:
    """Return the entry `confirmed` of the `raysearch` block of `best_config.json`."""
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
    """Return the difference between the best config and another in words: number, interval, conclusion."""
    if difference.interval is None:
        return f"{difference.mean:+.4g}, no interval with a single seed: not distinguishable"
    low, high = difference.interval
    what = ("better" if difference.is_better else "worse") if difference.distinguishable else "not distinguishable"
    return f"{difference.mean:+.4g}, {CONFIDENCE:.0%} interval {low:+.4g} to {high:+.4g}: {what}"


def lead_lines(confirmation: Confirmation) -> list[str]:
    """Return lines that compare the best config with the default and the runner-up, and the `passed_over` lines."""
    best, runner_up, default = confirmation.best, confirmation.runner_up, confirmation.default
    named = [("the default", default)]
    if runner_up is not None and runner_up is not default:
        named.append((f"the runner-up, trial {runner_up.number}", runner_up))
    leads = [(name, confirmation.lead_over(other)) for name, other in named]
    lines = [f"trial {best.number} minus {name}: {verdict(lead)}" for name, lead in leads if lead is not None]
    return [*lines, *confirmation.passed_over()]
