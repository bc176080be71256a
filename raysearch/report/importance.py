"""Panel: the importance of each searched value for the score, and values without effect."""

from collections.abc import Sequence
from html import escape

from raysearch.report.parts import MISSING, STATUS_COLORS, Part, Plot, Table, Text, counted, new_figure
from raysearch.report.view import SearchView
from raysearch.results.importances import MIN_TRIALS, Importance, Importances, Method

_NAMES: dict[Method, str] = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}
_COLORS: dict[Method, str] = {"fanova": STATUS_COLORS["completed"], "ped_anova": STATUS_COLORS["stopped"]}


def importance_info(view: SearchView) -> Importances:
    """Return the importance of each searched value by both methods."""
    return view.importances


def importance_parts(info: Importances) -> list[Part]:
    """Return sentences about values without effect, and the shares with their intervals as bars and as a table."""
    idle = [
        f"{path} took no effect: it had a say in no iteration of any of {counted(num_trials, 'trial')}, as they count."
        for path, num_trials in info.idle
    ]
    if info.iteration is None:
        few = f"Too few trials: {info.num_trials} have a value to compare, {MIN_TRIALS} are needed."
        return [Text(line) for line in (few, *idle)]
    compared = f"{info.num_trials} trials compared at iteration {info.iteration}"
    if not any(row.share > 0.0 for row in info.rows):
        return [Text(line) for line in (f"No searched value tells the {compared} apart.", *idle)]
    shares = (
        f"Shares in the score of {compared}: of its variance, what a value decides by itself (fANOVA); of what sets "
        "the best quarter apart (PED-ANOVA); with 95 % intervals over draws of the trials."
    )
    hint = " With so few trials they are a hint." if info.num_trials < 2 * MIN_TRIALS else ""
    parts: list[Part] = [Text(shares + hint), *(Text(line) for line in idle)]
    fanova, ped_anova = info.of("fanova"), info.of("ped_anova")
    unshown = [path for path in fanova if {fanova[path].verdict, ped_anova[path].verdict} == {"no effect shown"}]
    if unshown:
        parts.append(
            Text(
                f"No effect is shown of {', '.join(unshown)}: shuffled among the trials, the same values have a share "
                "that is no smaller for sure, by either method. More trials may show one."
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
    return Plot(figure, "Importance of every searched value by both methods, with intervals.")


def _table(fanova: dict[str, Importance], ped_anova: dict[str, Importance]) -> Table:
    def cells(row: Importance | None) -> tuple[str, str]:
        if row is None:
            return MISSING, MISSING
        return f"{row.share:.1%} ({row.interval[0]:.1%} to {row.interval[1]:.1%})", row.verdict

    rows = tuple((path, *cells(fanova[path]), *cells(ped_anova.get(path))) for path in fanova)
    header = ("searched value", "fANOVA share", "", "PED-ANOVA share", "")
    return Table(header, rows, text_columns=(0, 2, 4), summary="Shares, intervals and verdicts")


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return importance_parts(importance_info(view))
