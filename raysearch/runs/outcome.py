"""Writes all results of a search from its journal: tables, best config, checkpoint, report."""

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from raysearch.history.history import History
from raysearch.history.pareto import pareto_set
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_tables
from raysearch.results.confirmation import Confirmation, read_confirmation
from raysearch.results.export import lost_weights, write_best, write_pareto_set
from raysearch.results.predictions import write_predictions
from raysearch.schedulers import rungs_of
from raysearch.schedulers.rung_audit import audit_rungs
from raysearch.search.run import Run
from trainables.plurals import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ParetoPoint:
    """One trial of the Pareto set."""

    trial: int
    values: tuple[float, ...]
    """Value of each objective."""
    config: Path


@dataclass(frozen=True)
class SearchResult:
    """The results of a search and their paths."""

    run_dir: Path
    metric: str
    best_value: float | None
    """Best value of the objective; None if no trial has reported."""
    best_trial: int | None
    best_config: Path | None
    best_checkpoint: Path | None
    """Folder of the best checkpoint; None if the trainable writes no checkpoints."""
    default_value: float | None
    """Value of the default config; None if the trainable has no `Config`."""
    num_trials: int
    iterations_shared: tuple[int, int]
    """Number of iterations that another trial had trained already, and number of iterations of all trials."""
    finished: bool
    """False if the search or its confirmation was interrupted; `resume` continues it."""
    interrupted_by: int | None = None
    """Signal that interrupted the search."""
    confirmed: Confirmation | None = None
    """Confirmation, if there was one; its best config is then the best config of the search."""
    misleading: str | None = None
    """Conclusion of the rung audit if early scores mislead."""
    objectives: tuple[str, ...] = ()
    """Metrics of a search for several objectives."""
    pareto_set: tuple[ParetoPoint, ...] = ()
    """Trials that no other trial dominates, the best by the first objective first."""
    mostly_failed: str | None = None
    """Message if more than half of the trials failed, not counting those that were retried."""
    broken: tuple[str, ...] = ()
    """Constraints on metrics that the best trial violates; empty if some trial satisfies all of them."""
    default_lost: str | None = None
    """Ending of the default trial if it was infeasible or failed."""
    lost_weights: str | None = None
    """What happened to the winner's checkpoint if it is gone or damaged."""

    @property
    def trials(self) -> "pd.DataFrame":
        """Table with one row per trial, read from `trials.parquet`; `history.tables.trials_table` lists its columns."""
        frame: pd.DataFrame = pq.read_table(RunDir(self.run_dir).trials_table).to_pandas()
        return frame

    @property
    def results(self) -> "pd.DataFrame":
        """Table with one row per trial and iteration, read from `results.parquet`."""
        frame: pd.DataFrame = pq.read_table(RunDir(self.run_dir).results_table).to_pandas()
        return frame


def write_outcome(run: Run) -> None:
    """Write all result files of a run's folder; only the journal and `confirmed.parquet` are read."""
    from raysearch.report import write_report  # late: plotly and scikit-learn take a second to import

    write_tables(run.history, run.dir)
    write_best(run)
    write_pareto_set(run)
    write_predictions(run, read_confirmation(run.dir, run.history))
    write_report(run)


def search_result(run: Run, interrupted_by: int | None) -> SearchResult:
    """Return the results as values."""
    winner = run.history.best_trial()
    best = winner.best(run.history.mode) if winner else None
    default = next((trial for trial in run.history.trials if trial.is_default), None)
    default_best = default.best(run.history.mode) if default else None
    audit = audit_rungs(run.history, rungs_of(run.spec), run.spec.max_iters)
    front = pareto_set(run.history) if run.history.further else []
    ended = sum(trial.status != "running" for trial in run.history.trials)
    return SearchResult(
        run_dir=run.dir.root,
        metric=run.spec.objectives[0].metric,
        best_value=best.value if best else None,
        best_trial=winner.number if winner else None,
        best_config=run.dir.best_config if winner else None,
        best_checkpoint=run.dir.best_checkpoint if run.dir.best_checkpoint.is_dir() else None,
        default_value=default_best.value if default_best else None,
        num_trials=len(run.history.trials),
        iterations_shared=run.history.iterations_shared,
        finished=interrupted_by is None and ended == len(run.history.trials),
        interrupted_by=interrupted_by,
        confirmed=read_confirmation(run.dir, run.history),
        misleading=audit.conclusion if audit.misleads else None,
        objectives=tuple(objective.metric for objective in run.spec.objectives) if run.history.further else (),
        pareto_set=tuple(
            ParetoPoint(trial.number, run.history.values_of(trial) or (), run.dir.pareto_config(trial.number))
            for trial in front
        ),
        mostly_failed=_mostly_failed(run.history, run.dir),
        broken=tuple(winner.broken(run.history.mode)) if winner else (),
        default_lost=f"{default.status}: {default.error}"
        if default is not None and default.status in ("infeasible", "failed")
        else None,
        lost_weights=lost_weights(run),
    )


def _mostly_failed(history: History, run_dir: RunDir) -> str | None:
    errors = Counter(trial.error for trial in history.failed)
    num_trials = sum(not trial.is_retried for trial in history.trials)
    if 2 * errors.total() <= num_trials:
        return None
    (error, num_alike), *_ = errors.most_common(1)
    by = "" if num_alike == errors.total() else f"{num_alike} of them "
    what = f"{errors.total()} of {counted(num_trials, 'trial')} failed, {by}with {error}"
    again = f"`raysearch resume {shlex.quote(str(run_dir.root))} --retry-failed`"
    fix = f"correct the cause, then run them again with {again}"
    return f"{what}; {run_dir.log} has the details; {fix}"
