"""Panel: the IoU of each class, for the winner and the default config."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from raysearch.history.history import TrialHistory
from raysearch.report.parts import (
    DEFAULT_COLOR,
    MISSING,
    WINNER_COLOR,
    Part,
    Plot,
    Table,
    Text,
    is_number,
    new_figure,
)
from raysearch.report.view import SearchView
from trainables.plurals import counted

IOU = "iou"
"""Name of the reported list that holds the IoU of each class."""

MAX_CLASSES = 40
"""Maximum number of classes that are drawn: those that differ most. The table has all."""


@dataclass(frozen=True)
class ClassScore:
    """IoU of one class."""

    name: str
    winner: float | None
    """IoU of the winner; None if neither label nor prediction has the class."""
    default: float | None

    @property
    def difference(self) -> float | None:
        """Winner's IoU minus the default's."""
        return None if self.winner is None or self.default is None else self.winner - self.default


@dataclass(frozen=True)
class ClassIouInfo:
    """All classes, in the order of the config."""

    winner: int
    """Number of the winning trial."""
    iteration: int
    default: int | None
    """Number of the default config's trial; None if that is the winner, or reported no IoU."""
    default_iteration: int | None
    classes: tuple[ClassScore, ...]


def class_iou_info(view: SearchView) -> ClassIouInfo | None:
    """Return the IoU of each class in the best reports; None if trials report none."""
    scores = _scores(view.winner, view)
    if view.winner is None or scores is None:
        return None
    iteration, of_winner = scores
    beside = None if view.default is view.winner else _scores(view.default, view)
    of_default: Sequence[float | None] = beside[1] if beside else [None] * len(of_winner)
    known = view.entries.get(IOU, ())
    names = known if len(known) == len(of_winner) else [str(i) for i in range(len(of_winner))]
    rows = zip(names, of_winner, of_default, strict=True)
    return ClassIouInfo(
        winner=view.winner.number,
        iteration=iteration,
        default=view.default.number if beside and view.default else None,
        default_iteration=beside[0] if beside else None,
        classes=tuple(ClassScore(*row) for row in rows),
    )


def _scores(trial: TrialHistory | None, view: SearchView) -> tuple[int, list[float | None]] | None:
    best = trial.best(view.mode) if trial else None
    iou = best.metrics.get(IOU) if best else None
    if best is None or not isinstance(iou, list):
        return None
    return best.iteration, [value if is_number(value) else None for value in iou]


def class_iou_parts(info: ClassIouInfo | None) -> list[Part]:
    """Draw two bars per class, and a table; return nothing if trials report no IoU."""
    if info is None:
        return []
    texts = [f"IoU on the validation images of trial {info.winner}, the winner, at iteration {info.iteration}"]
    if info.default is not None:
        gains = [one.difference for one in info.classes if one.difference is not None]
        better, worse = sum(gain > 0.0 for gain in gains), sum(gain < 0.0 for gain in gains)
        texts.append(
            f" and of trial {info.default}, the default, at iteration {info.default_iteration}. "
            f"The winner is better on {counted(better, 'class')} and worse on {worse}"
        )
    drawn = list(info.classes)
    if len(drawn) > MAX_CLASSES:
        kept = sorted(drawn, key=lambda one: -abs(one.difference or 0.0))[:MAX_CLASSES]
        drawn = [one for one in drawn if one in kept]
        texts.append(f". The figure shows the {MAX_CLASSES} classes with the largest differences, the table all")
    return [Text("".join(texts) + "."), _plot(drawn, info.default is not None), _table(info)]


def _plot(classes: Sequence[ClassScore], with_default: bool) -> Plot:
    figure = new_figure(70 + (38 if with_default else 26) * len(classes), barmode="group", bargap=0.3)
    names = [escape(one.name) for one in reversed(classes)]
    bars = [("winner", WINNER_COLOR, [one.winner for one in reversed(classes)])]
    if with_default:  # bars of a group are drawn from the bottom up
        bars.insert(0, ("default", DEFAULT_COLOR, [one.default for one in reversed(classes)]))
    for name, color, values in bars:
        figure.add_bar(
            x=[None if value is None else round(value, 4) for value in values],
            y=names,
            name=name,
            orientation="h",
            marker={"color": color},
            hovertemplate=f"%{{y}}, {name} %{{x:.4f}}<extra></extra>",
        )
    figure.update_layout(legend={"traceorder": "reversed"}, showlegend=with_default)
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(ticksuffix="  ", showgrid=False, type="category")
    return Plot(figure, "IoU of each class for the winner and the default config.")


def _table(info: ClassIouInfo) -> Table:
    def cell(value: float | None, form: str = ".4f") -> str:
        return MISSING if value is None or math.isnan(value) else format(value, form)

    summary = "IoU of all classes as a table"
    if info.default is None:
        return Table(("class", "winner"), tuple((one.name, cell(one.winner)) for one in info.classes), summary=summary)
    rows = tuple((one.name, cell(one.winner), cell(one.default), cell(one.difference, "+.4f")) for one in info.classes)
    return Table(("class", "winner", "default", "difference"), rows, summary=summary)


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return class_iou_parts(class_iou_info(view))
