"""Panel: the trial that each worker was busy with, over time."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.durations import duration
from raysearch.history.events import Status
from raysearch.history.history import Leg, TrialHistory
from raysearch.report.parts import (
    DEFAULT_COLOR,
    STATUS_COLORS,
    WINNER_COLOR,
    Fact,
    Facts,
    Part,
    Plot,
    Text,
    new_figure,
)
from raysearch.report.view import SearchView
from trainables.plurals import counted

MAX_BARS = 2_000
"""Maximum number of bars that are drawn, the latest ones."""

_UNITS = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (2 * 60.0, 60.0, "minutes"))


@dataclass(frozen=True)
class Bar:
    """One period in which a worker was busy."""

    lane: int
    """Row of the bar, from 0. A worker keeps its lane, and the next worker takes the lane of one that has ended."""
    number: int
    """Number of the trial."""
    status: Status
    is_winner: bool
    is_default: bool
    worker: str
    """Name of the worker; empty if the journal does not contain it."""
    begin: float
    """Seconds since the first trial started."""
    end: float


@dataclass(frozen=True)
class TimelineInfo:
    """Bars and their totals."""

    bars: tuple[Bar, ...]
    """Bars in order of their start."""
    num_lanes: int
    """Maximum number of workers that were busy at the same time."""
    elapsed_s: float
    """Time in which any worker was busy; pauses of an interrupted search are not counted."""
    busy: float
    """Share of the elapsed time of all lanes in which they were busy."""
    num_inferred: int
    """Number of trials whose bar extends from start to end because the journal holds no details."""


def timeline_info(view: SearchView) -> TimelineInfo | None:
    """Return the busy periods of all workers; None before anything is timed."""
    trials = view.history.trials
    timed = sorted(((leg, trial) for trial in trials for leg in _legs(trial)), key=lambda pair: pair[0].begin)
    if not timed:
        return None
    origin = min(trial.started for trial in trials)
    lanes = _lanes([leg for leg, _ in timed])
    bars = tuple(
        Bar(
            lane,
            trial.number,
            trial.status,
            view.is_winner(trial),
            trial.is_default,
            leg.worker,
            leg.begin - origin,
            leg.end - origin,
        )
        for lane, (leg, trial) in zip(lanes, timed, strict=True)
    )
    num_lanes, elapsed = max(lanes) + 1, _covered([leg for leg, _ in timed])
    busy = sum(leg.end - leg.begin for leg, _ in timed)
    return TimelineInfo(
        bars=bars,
        num_lanes=num_lanes,
        elapsed_s=elapsed,
        busy=busy / (num_lanes * elapsed) if elapsed > 0.0 else 0.0,
        num_inferred=sum(not trial.legs and trial.ended is not None for trial in trials),
    )


def _legs(trial: TrialHistory) -> Sequence[Leg]:
    if trial.legs or trial.ended is None:
        return trial.legs
    return [Leg("", trial.started, trial.ended)]


def _lanes(legs: Sequence[Leg]) -> list[int]:
    """Return a lane for each leg, in order of start: the worker's own if it is free, otherwise the first free one."""
    free_from: list[float] = []
    own: dict[str, int] = {}
    lanes = []
    for leg in legs:
        free = [lane for lane, end in enumerate(free_from) if end <= leg.begin + _OVERLAP_S]
        lane = own[leg.worker] if own.get(leg.worker) in free else free[0] if free else len(free_from)
        if lane == len(free_from):
            free_from.append(leg.end)
        free_from[lane] = leg.end
        if leg.worker:
            own[leg.worker] = lane
        lanes.append(lane)
    return lanes


_OVERLAP_S = 0.1
"""Time by which two legs of one worker may seem to overlap, because a report's time is that of its arrival."""


def _covered(legs: Sequence[Leg]) -> float:
    """Return the seconds covered by any of the legs, which are in order of their start."""
    covered, end = 0.0, float("-inf")
    for leg in legs:
        covered += max(0.0, leg.end - max(end, leg.begin))
        end = max(end, leg.end)
    return covered


def timeline_parts(info: TimelineInfo | None) -> list[Part]:
    """Draw one bar per period, and one lane per worker."""
    if info is None:
        return [Text("No trial has reported or ended yet.")]
    facts = Facts(
        (
            Fact("elapsed", duration(info.elapsed_s), "time in which a worker was busy"),
            Fact("workers", str(info.num_lanes), "largest number at a time"),
            Fact("busy", f"{info.busy:.0%}", "of the workers' time"),
        )
    )
    parts: list[Part] = [facts, _plot(info)]
    if len(info.bars) > MAX_BARS:
        parts.append(Text(f"The latest {MAX_BARS} of {len(info.bars)} bars are shown."))
    if info.num_inferred:
        trials = counted(info.num_inferred, "trial")
        parts.append(Text(f"For {trials}, the journal holds only the start and the end, so the worker is unknown."))
    return parts


def _plot(info: TimelineInfo) -> Plot:
    drawn = info.bars[-MAX_BARS:]
    span = max(bar.end for bar in drawn)
    unit, name = next(((size, name) for least, size, name in _UNITS if span >= least), (1.0, "seconds"))
    figure = new_figure(90 + 34 * info.num_lanes, barmode="overlay", hovermode="closest")
    kinds: list[tuple[str, str, list[Bar]]] = [
        (status, color, [b for b in drawn if b.status == status and not (b.is_winner or b.is_default)])
        for status, color in STATUS_COLORS.items()
    ]
    kinds.append(("default", DEFAULT_COLOR, [bar for bar in drawn if bar.is_default and not bar.is_winner]))
    kinds.append(("winner", WINNER_COLOR, [bar for bar in drawn if bar.is_winner]))
    for kind, color, bars in kinds:
        if bars:
            figure.add_bar(
                x=[round((bar.end - bar.begin) / unit, 4) for bar in bars],
                base=[round(bar.begin / unit, 4) for bar in bars],
                y=[bar.lane + 1 for bar in bars],
                customdata=[[bar.number, bar.worker or "unknown", duration(bar.end - bar.begin)] for bar in bars],
                width=0.75,
                orientation="h",
                name=kind,
                marker={"color": color, "line": {"width": 0}},
                hovertemplate=f"trial %{{customdata[0]}}, {kind}<br>%{{customdata[2]}}, %{{customdata[1]}}"
                "<extra></extra>",
            )
    figure.update_xaxes(title=f"{name} since the start")
    figure.update_yaxes(title="worker", range=[info.num_lanes + 0.5, 0.5], showgrid=False)
    if info.num_lanes <= 16:
        figure.update_yaxes(dtick=1)
    return Plot(figure, "Trials of each worker over time.", min_width_px=480)


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return timeline_parts(timeline_info(view))
