"""Panel: the importance of each searched value for the score, and values without effect."""

from collections.abc import Sequence
from html import escape

from raysearch.report.parts import MISSING, STATUS_COLORS, Part, Plot, Table, Text, new_figure
from raysearch.report.view import SearchView
from raysearch.results.importances import MIN_TRIALS, Importance, Importances, Method
from trainables.plurals import counted

_NAMES: dict[Method, str] = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}
_COLORS: dict[Method, str] = {"fanova": STATUS_COLORS["completed"], "ped_anova": STATUS_COLORS["stopped"]}


def importance_info(view: SearchView) -> Importances:
    """Return the importance of each searched value by both methods."""
    return view.importances


def importance_parts(info: Importances) -> list[Part]:
    """Return sentences about values without effect, and the shares with their intervals as bars and as a table."""
    idle = [
        f"{path} had no effect in any iteration of any trial ({counted(num_trials, 'trial')} counted its effect)."
        for path, num_trials in info.idle
    ]
    if info.iteration is None:
        few = f"Too few trials: this panel needs {MIN_TRIALS} comparable values and has {info.num_trials}."
        return [Text(line) for line in (few, *idle)]
    compared = f"{counted(info.num_trials, 'trial')} at iteration {info.iteration}"
    if not any(row.share > 0.0 for row in info.rows):
        return [
            Text(line)
            for line in (f"No searched value explains the differences between the scores of {compared}.", *idle)
        ]
    shares = (
        f"How much each value matters for the scores of {compared}. fANOVA: its share of the variance, by itself. "
        "PED-ANOVA: its share in what distinguishes the best quarter of the trials. The 95 % confidence intervals come "
        "from resampling the trials."
    )
    hint = " With so few trials, take the shares as a hint only." if info.num_trials < 2 * MIN_TRIALS else ""
    parts: list[Part] = [Text(shares + hint), *(Text(line) for line in idle)]
    fanova, ped_anova = info.of("fanova"), info.of("ped_anova")
    unshown = [path for path in fanova if {fanova[path].verdict, ped_anova[path].verdict} == {"no effect shown"}]
    if unshown:
        parts.append(
            Text(
                f"Neither method can tell the effect of {', '.join(unshown)} from chance (permutation test). More "
                "trials may show an effect."
            )
        )
    return [*parts, _plot(info, list(fanova)), _table(fanova, ped_anova)]


def _plot(info: Importances, paths: Sequence[str]) -> Plot:
    figure = new_figure(90 + 44 * len(paths), barmode="group", bargap=0.35)
    for method in ("ped_anova", "fanova"):  # bars of a group are drawn from the bottom up
        rows = [info.of(method)[path] for path in reversed(paths)]
        figure.add_bar(
            x=[round(row.share, 4) for row in rows],
            y=[escape(row.path) for row in rows],
            name=_NAMES[method],
            orientation="h",
            marker={"color": _COLORS[method]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [round(row.interval[1] - row.share, 4) for row in rows],
                "arrayminus": [round(row.share - row.interval[0], 4) for row in rows],
                "thickness": 1,
                "color": "#7b8490",
            },
            hovertemplate=f"%{{y}}<br>{_NAMES[method]} %{{x:.0%}}<extra></extra>",
        )
    figure.update_layout(legend={"traceorder": "reversed"})
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(ticksuffix="  ", showgrid=False, type="category")
    return Plot(figure, "Importance of each searched value by both methods, with confidence intervals.")


def _table(fanova: dict[str, Importance], ped_anova: dict[str, Importance]) -> Table:
    def cells(row: Importance | None) -> tuple[str, str]:
        if row is None:
            return MISSING, MISSING
        return f"{row.share:.1%} ({row.interval[0]:.1%} to {row.interval[1]:.1%})", row.verdict

    rows = tuple((path, *cells(fanova[path]), *cells(ped_anova.get(path))) for path in fanova)
    header = ("searched value", "fANOVA share", "", "PED-ANOVA share", "")
    return Table(header, rows, text_columns=(0, 2, 4), summary="Shares, confidence intervals and verdicts")


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return importance_parts(importance_info(view))
