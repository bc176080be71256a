"""Panel: how well early scores predict the final order of the trials."""

from collections.abc import Sequence

from raysearch.report.parts import MISSING, Part, Plot, Table, Text, new_figure, shown
from raysearch.report.view import SearchView
from raysearch.schedulers.rung_audit import TRUSTED, RungAudit, SearchAudit, Verdict, audit_rungs
from trainables.plurals import counted

_SAYS: dict[Verdict, str] = {
    "too few": "too few trials to tell",
    "tied": "all scores are equal",
    "misleading": "early scores mislead",
    "unclear": "early scores may mislead",
    "trusted": "early scores can be trusted",
}


def rung_audit_info(view: SearchView) -> SearchAudit:
    """Return the rank correlations of early scores with final scores."""
    return audit_rungs(view.history, view.rungs, view.max_iters)


def rung_audit_parts(info: SearchAudit) -> list[Part]:
    """Return a sentence, a table, and a plot of the correlations with their intervals over the iterations."""
    if not info.rungs:
        return [Text(info.conclusion)]
    noun = "rung" if info.at_rungs else "iteration"
    parts: list[Part] = [Text(info.conclusion), _table(info, noun)]
    told = [rung for rung in info.rungs if rung.interval is not None]
    if told:
        parts.append(_plot(told, noun))
    num_missing = max(rung.num_missing for rung in info.rungs)
    if num_missing:
        num_audited = max(rung.num_audited for rung in info.rungs)
        parts.append(
            Text(
                f"{counted(num_missing, 'trial')} ended before the full budget and cannot be compared. Of the others, "
                f"{num_audited} were exempt from early stopping for this audit. "
                "Among trials that passed a rung, the correlation tends to be lower than among all trials."
            )
        )
    return parts


def _table(info: SearchAudit, noun: str) -> Table:
    rows = tuple(
        (
            str(rung.iteration),
            str(rung.num_trials),
            str(rung.num_audited),
            MISSING if rung.correlation is None else shown(round(rung.correlation, 3)),
            MISSING if rung.interval is None else f"{rung.interval[0]:.2f} to {rung.interval[1]:.2f}",
            _SAYS[rung.verdict],
        )
        for rung in info.rungs
    )
    header = (noun, "trials", "audited", f"rank correlation with {info.full_iteration}", "95 % confidence interval", "")
    return Table(header, rows, text_columns=(5,))


def _plot(rungs: Sequence[RungAudit], noun: str) -> Plot:
    figure = new_figure(260, showlegend=False)
    intervals = [rung.interval or (0.0, 0.0) for rung in rungs]
    correlations = [rung.correlation or 0.0 for rung in rungs]
    figure.add_scatter(
        x=[rung.iteration for rung in rungs],
        y=correlations,
        mode="markers",
        marker={"size": 8},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - rho for (_, high), rho in zip(intervals, correlations, strict=True)],
            "arrayminus": [rho - low for (low, _), rho in zip(intervals, correlations, strict=True)],
        },
        customdata=[rung.num_trials for rung in rungs],
        hovertemplate=f"{noun} %{{x}}, %{{customdata}} trials<br>%{{y:.3f}}<extra></extra>",
    )
    figure.add_hline(y=TRUSTED, line={"width": 1, "dash": "dot"})
    figure.update_xaxes(title="iteration", rangemode="tozero")
    figure.update_yaxes(title="rank correlation", range=[-1.05, 1.05])
    return Plot(
        figure, f"Rank correlation of the score at each {noun} with the final score, with its confidence interval."
    )


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return rung_audit_parts(rung_audit_info(view))
