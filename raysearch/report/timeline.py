"""Panel: which worker was busy with which trial when."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    counted,
    duration,
    new_figure,
)
from raysearch.report.view import SearchView

MAX_BARS = 2_000
"""Bars drawn at most, the latest."""

_UNITS = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (2 * 60.0, 60.0, "minutes"))


@dataclass(frozen=True)
class Bar:
    """One stretch of a worker's time."""

    lane: int
    """From 0: a worker keeps its lane; where it has ended, the next takes the lane over."""
    number: int
    """The trial."""
    status: Status
    is_winner: bool
    is_default: bool
    worker: str
    """Empty where the journal does not say."""
    begin: float
    """Seconds since the first trial started."""
    end: float


@dataclass(frozen=True)
class TimelineInfo:
    """Bars, and what they add up to."""

    bars: tuple[Bar, ...]
    """By their begin."""
    num_lanes: int
    """Workers that were busy at once, at most."""
    elapsed_s: float
    """Time in which any worker was busy: without the pauses of an interrupted search."""
    busy: float
    """The part of the elapsed time of all lanes in which they were busy."""
    num_inferred: int
    """Trials whose bar goes from their start to their end, since the journal does not say more."""


def timeline_info(view: SearchView) -> TimelineInfo | None:
    """The busy stretches of all workers; None before the first report or ending."""
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
    """A lane for every leg, by their begin: the worker's own where it has one that is free, else the first free one."""
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
"""By so much two legs of one worker may seem to overlap: a report's time is that of its arrival."""


def _covered(legs: Sequence[Leg]) -> float:
    """Seconds that any of the legs covers, by their begin."""
    covered, end = 0.0, float("-inf")
    for leg in legs:
        covered += max(0.0, leg.end - max(end, leg.begin))
        end = max(end, leg.end)
    return covered


def timeline_parts(info: TimelineInfo | None) -> list[Part]:
    """A bar a stretch, a lane a worker."""
    if info is None:
        return [Text("No trial has reported or ended yet.")]
    facts = Facts(
        (
            Fact("elapsed", duration(info.elapsed_s), "while any worker was busy"),
            Fact("workers", str(info.num_lanes), "at once, at most"),
            Fact("busy", f"{info.busy:.0%}", "of the workers' time"),
        )
    )
    parts: list[Part] = [facts, _plot(info)]
    if len(info.bars) > MAX_BARS:
        parts.append(Text(f"The latest {MAX_BARS} of {len(info.bars)} stretches are drawn."))
    if info.num_inferred:
        trials = counted(info.num_inferred, "trial")
        parts.append(Text(f"Of {trials} the journal holds the start and the end alone: the worker is not known."))
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
    return Plot(figure, "Which worker was busy with which trial when.", min_width_px=480)


def panel(view: SearchView) -> list[Part]:
    """Which worker was busy with which trial when."""
    return timeline_parts(timeline_info(view))
