"""The report page: one HTML file that contains everything it needs and works without a network."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from raysearch.command_line import command_line
from raysearch.durations import duration
from raysearch.history.run_dir import RunDir
from raysearch.report import (
    class_iou,
    config,
    contour,
    cost,
    failures,
    history,
    importance,
    learning_curves,
    parallel_coordinates,
    pareto_set,
    predictions,
    reproduce,
    rung_audit,
    slices,
    timeline,
    winner,
)
from raysearch.report.bundle import plotly_js
from raysearch.report.parts import (
    STATUS_COLORS,
    Code,
    Facts,
    Grid,
    Legend,
    Part,
    Picture,
    Pictures,
    Plot,
    Table,
    Text,
)
from raysearch.report.template import PAGE, SCRIPT, STYLE
from raysearch.report.view import SearchView
from raysearch.results.confirmation import read_confirmation, winning_trial
from raysearch.results.expectation import expectations
from raysearch.results.export import best_document
from raysearch.results.importances import write_importances
from raysearch.results.predictions import read_predictions
from raysearch.schedulers import rungs_of
from raysearch.search.run import Run
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import write_text
from trainables.plurals import counted
from trainables.protocol import Evaluates

PANELS: tuple[tuple[str, Callable[[SearchView], list[Part]]], ...] = (
    ("Winner", winner.panel),
    ("History", history.panel),
    ("Learning curves", learning_curves.panel),
    ("Rung audit", rung_audit.panel),
    ("Parallel coordinates", parallel_coordinates.panel),
    ("Importance", importance.panel),
    ("Slices", slices.panel),
    ("Contour", contour.panel),
    ("Per-class IoU", class_iou.panel),
    ("Predictions", predictions.panel),
    ("Timeline", timeline.panel),
    ("Failures", failures.panel),
    ("Cost", cost.panel),
    ("Config", config.panel),
    ("Reproduce", reproduce.panel),
)
"""Title and panel of every search, in the order of the page. A panel without parts is left out."""


def write_report(run: Run) -> Path:
    """Write the page of a search, finished or not, and the `importance.parquet` that it shows.

    The same journal and the same confirmed scores give the same page.

    Returns:
        The file, `report.html` in the folder of the run.
    """
    view = search_view(run)
    write_importances(view.importances, run.dir)
    page = render_page(view, run.spec.name)
    write_text(run.dir.report, page)
    return run.dir.report


def search_view(run: Run) -> SearchView:
    """Return the data that the panels are drawn from."""
    confirmation = read_confirmation(run.dir, run.history)
    return SearchView(
        history=run.history,
        metric=run.spec.objectives[0].metric,
        rungs=rungs_of(run.spec),
        max_iters=run.spec.max_iters,
        best=best_document(run.spec, run.history, confirmation),
        commands=_commands(run.spec, run.dir),
        confirmation=confirmation,
        entries=run.spec.metric_entries(),
        cpu=run.spec.resources.cpu,
        gpu=run.spec.resources.gpu,
        predictions=read_predictions(run.dir, winning_trial(run.history, confirmation)),
        hashes=_hashes(run.dir),
        expected=tuple(expectations(run.spec, run.history)),
    )


def _commands(spec: SearchSpec, run_dir: RunDir) -> tuple[str, ...]:
    """Return the command lines that train the best config, and score its checkpoint if the trainable can do that."""
    train = command_line("train", run_dir.best_config)
    target: Any = spec.trainable.target
    if not isinstance(target, Evaluates):
        return (train,)
    return (train, command_line("evaluate", run_dir.best_config, "--checkpoint", run_dir.best_checkpoint))


def _hashes(run_dir: RunDir) -> tuple[tuple[str, str], ...]:
    """Return the hashes of the files that the run was made from, and of the best weights."""
    hashed = []
    for path in (run_dir.space, run_dir.journal, *_weights(run_dir)):
        if path.is_file():
            with path.open("rb") as file:
                hashed.append((str(path.relative_to(run_dir.root)), hashlib.file_digest(file, "sha256").hexdigest()))
    return tuple(hashed)


def _weights(run_dir: RunDir) -> list[Path]:
    """Return the files of the best checkpoint, without its config."""
    return sorted(path for path in run_dir.best_checkpoint.rglob("*") if path.name != "config.json")


def render_page(view: SearchView, name: str) -> str:
    """Return the page as HTML."""
    panels = [(title, parts) for title, panel in _panels(view) if (parts := panel(view))]
    return page_of(panels, title=name, summary=_summary(view))


def page_of(panels: Sequence[tuple[str, list[Part]]], *, title: str, summary: str) -> str:
    """Return panels under their titles as an HTML page."""
    figures: dict[str, Any] = {}
    sections = "\n".join(
        f'<section id="{_anchor(name)}">\n<h2>{escape(name)}</h2>\n{_html(parts, figures)}\n</section>'
        for name, parts in panels
    )
    links = "\n".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name, _ in panels)
    return PAGE.format(
        title=escape(title),
        style=STYLE,
        summary=escape(summary),
        links=links,
        sections=sections,
        plotly=plotly_js() if figures else "",
        figures=_script_json(figures),
        script=SCRIPT,
    )


def _anchor(title: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def _panels(view: SearchView) -> list[tuple[str, Callable[[SearchView], list[Part]]]]:
    """Return the panels of the page; for several objectives, the Pareto set follows the winner."""
    several = [("Pareto set", pareto_set.panel)] if view.history.further else []
    return [PANELS[0], *several, *PANELS[1:]]


def _summary(view: SearchView) -> str:
    """Return one line about the search as a whole; it does not depend on the time at which the page is written."""
    trials = view.history.trials
    better = "larger" if view.mode == "max" else "smaller"
    parts = [f"{view.metric}, {better} is better"]
    target = view.history.target_trials
    parts.append(f"{len(trials)} of {counted(target, 'trial')}" if target != len(trials) else counted(target, "trial"))
    counts = {status: sum(trial.status == status for trial in trials) for status in STATUS_COLORS}
    parts += [f"{count} {status}" for status, count in counts.items() if count]
    if trials:
        parts.append(f"started {datetime.fromtimestamp(trials[0].started, UTC):%Y-%m-%d %H:%M} UTC")
        seconds = sum(report.seconds for trial in trials for report in trial.reports.values())
        parts.append(f"{duration(seconds)} of training")
        saved, whole = view.history.iterations_shared
        if saved:
            parts.append(f"{saved:,} of {counted(whole, 'iteration', form=',')} shared between trials")
    return " · ".join(parts)


def _html(parts: Sequence[Part], figures: dict[str, Any]) -> str:
    """Return the parts of a panel as HTML, and put the data of each figure into `figures` under its id."""
    return "\n".join(_part_html(part, figures) for part in parts)


def _part_html(part: Part, figures: dict[str, Any]) -> str:
    match part:
        case Text(text=text):
            return f"<p>{escape(text)}</p>"
        case Facts(facts=facts):
            items = (
                f"<div><dt>{escape(fact.name)}</dt><dd>{escape(fact.value)}</dd><dd>{escape(fact.remark)}</dd></div>"
                for fact in facts
            )
            return f"<dl>{''.join(items)}</dl>"
        case Table():
            return _folded(f'<div class="wide">{_table(part)}</div>', part.summary)
        case Code(text=text, summary=summary):
            button = '<button type="button" class="copy" hidden>Copy</button>'
            return _folded(f'<div class="code">{button}<pre tabindex="0">{escape(text)}</pre></div>', summary)
        case Plot():
            plot = _plot(part, figures)
            return f'<div class="wide"><div style="min-width:{part.min_width_px}px">{plot}</div></div>'
        case Grid(plots=plots):
            return f'<div class="grid">{"".join(f"<div>{_plot(plot, figures)}</div>" for plot in plots)}</div>'
        case Legend(entries=entries):
            swatches = (f'<li><i style="background:{escape(color)}"></i>{escape(name)}</li>' for name, color in entries)
            return f'<ul class="legend">{"".join(swatches)}</ul>'
        case Pictures(title=title, pictures=pictures):
            figures_html = "".join(map(_picture, pictures))
            return f'<div class="pictures"><h3>{escape(title)}</h3><div>{figures_html}</div></div>'


def _picture(picture: Picture) -> str:
    kind, caption = ' class="sharp"' if picture.is_sharp else "", escape(picture.caption)
    return (
        f'<figure><img{kind} src="{escape(picture.data)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )


def _plot(plot: Plot, figures: dict[str, Any]) -> str:
    identity = f"figure-{len(figures)}"
    figures[identity] = plot.figure.to_dict()
    height, label = plot.figure.layout.height, escape(plot.description)
    return f'<div class="plot" id="{identity}" style="height:{height}px" role="img" aria-label="{label}"></div>'


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        kinds = ("" if i in table.text_columns else ' class="number"' for i in range(len(cells)))
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    rows = "".join(f"<tr>{row(cells, 'td')}</tr>\n" for cells in table.rows)
    return f"<table>\n<thead><tr>{row(table.header, 'th')}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"


def _folded(html: str, summary: str | None) -> str:
    return html if summary is None else f"<details>\n<summary>{escape(summary)}</summary>\n{html}\n</details>"


def _script_json(value: Any) -> str:
    """Return JSON in which no character sequence can end the script element around it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
