"""Panel: how much each searched value decides whether a trial is among the best."""

import warnings
from dataclasses import dataclass
from html import escape

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from raysearch.journal import Mode, TrialHistory
from raysearch.report.parts import STATUS_COLORS, Part, Plot, Text, new_figure
from raysearch.report.view import SearchView

optuna.logging.set_verbosity(optuna.logging.WARNING)

MIN_TRIALS = 10
"""Fewer trials leave less than three in the best quarter."""

_BEST = 0.25
"""The part of the trials that counts as good."""


@dataclass(frozen=True)
class ImportanceInfo:
    """Shares of the searched values in what makes a trial good."""

    num_trials: int
    """The trials that were compared, or that could have been."""
    iteration: int | None
    """Where they were compared: the furthest iteration that `MIN_TRIALS` trials have reached; None if too few."""
    shares: tuple[tuple[str, float], ...]
    """Path and share, the largest first; they sum to 1. None where nothing tells good trials from the others."""


def importance_info(view: SearchView) -> ImportanceInfo:
    """PED-ANOVA importances (Watanabe et al., IJCAI 2023, arXiv 2304.10255) of trials at equal iterations.

    Trials are compared by the best value they had at one iteration, stopped ones too: the few that early stopping let
    on to the full budget resemble one another too much to tell what made them good.
    """
    scored = [trial for trial in view.history.trials if trial.reports and trial.status not in ("failed", "infeasible")]
    if len(scored) < MIN_TRIALS:
        return ImportanceInfo(len(scored), None, ())
    iteration = sorted((max(trial.reports) for trial in scored), reverse=True)[MIN_TRIALS - 1]
    compared = [trial for trial in scored if max(trial.reports) >= iteration]
    study = optuna.create_study(direction="minimize" if view.mode == "min" else "maximize")
    for trial in compared:
        value = _value_at(trial, iteration, view.mode)
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, value=value, params=trial.params, distributions=trial.distributions)
        )
    paths = [path for path in view.paths if any(path in trial.params for trial in compared)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few trials tell little is said on the page
        evaluator = PedAnovaImportanceEvaluator(target_quantile=_BEST)
        importances = get_param_importances(study, evaluator=evaluator, params=paths, normalize=False)
    total = sum(importances.values())
    shares = [(path, importance / total) for path, importance in importances.items()] if total > 0 else []
    return ImportanceInfo(len(compared), iteration, tuple(shares))


def _value_at(trial: TrialHistory, iteration: int, mode: Mode) -> float:
    """The best value up to the first report at or beyond an iteration."""
    until = min(reported for reported in trial.reports if reported >= iteration)
    values = [report.value for report in trial.reports.values() if report.iteration <= until]
    return min(values) if mode == "min" else max(values)


def importance_parts(info: ImportanceInfo) -> list[Part]:
    """The shares as bars."""
    if info.iteration is None:
        return [Text(f"Too few trials: {info.num_trials} have a value to compare, {MIN_TRIALS} are needed.")]
    compared = f"{info.num_trials} trials compared at iteration {info.iteration}"
    if not info.shares:
        return [Text(f"No searched value tells the best of {compared} from the others.")]
    rows = info.shares[::-1]
    figure = new_figure(60 + 34 * len(rows), showlegend=False, bargap=0.35)
    figure.add_bar(
        x=[round(share, 4) for _, share in rows],
        y=[escape(path) for path, _ in rows],
        orientation="h",
        marker={"color": STATUS_COLORS["completed"]},
        text=[f"{share:.0%}" for _, share in rows],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.update_xaxes(visible=False, range=[0, 1.3 * rows[-1][1]])
    figure.update_yaxes(automargin=True, ticksuffix="  ", showgrid=False, type="category")
    text = f"Share of each searched value in what sets the best quarter of {compared} apart (PED-ANOVA)."
    hint = " With so few trials it is a hint." if info.num_trials < 2 * MIN_TRIALS else ""
    return [Text(text + hint), Plot(figure, "Importance of every searched value.")]


def panel(view: SearchView) -> list[Part]:
    """How much each searched value decides whether a trial is among the best."""
    return importance_parts(importance_info(view))
