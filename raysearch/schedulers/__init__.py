"""Early-stopping rules: when a trial has shown enough to be stopped."""

from collections.abc import Sequence
from typing import Protocol

from raysearch.history.events import Mode
from raysearch.history.history import History
from raysearch.schedulers.hyperband import Hyperband
from raysearch.schedulers.median_stopping import MedianStopping
from raysearch.schedulers.nondominated_halving import NondominatedHalving
from raysearch.schedulers.pilots import AfterPilots, pilot_rung
from raysearch.schedulers.progressive_halving import ProgressiveHalving
from raysearch.schedulers.successive_halving import PromotingHalving, SuccessiveHalving, rung_iterations
from raysearch.space.spec import SearchSpec


class Scheduler(Protocol):
    """An early-stopping rule: told every report in the order of the journal, it says who is to stop."""

    def observe(self, number: int, iteration: int, value: float, draws: Sequence[float] = ()) -> bool:
        """Take trial `number`'s value at `iteration` in, with draws of it over other samples where it reports them.

        Returns:
            Whether the trial should stop there (pause, where the rule is a `PromotingHalving`).
        """
        ...


class NeverStop:
    """Every trial runs to its full budget."""

    def observe(self, number: int, iteration: int, value: float, draws: Sequence[float] = ()) -> bool:
        """Never stops."""
        return False


def build_scheduler(spec: SearchSpec, mode: Mode) -> Scheduler | NondominatedHalving:
    """The early-stopping rule that a space file names."""
    settings = spec.scheduler
    if settings.name == "none":
        return NeverStop()
    grace_iters, max_iters = spec.grace_iters, spec.max_iters
    assert grace_iters is not None, "the space file was checked for it"
    assert max_iters is not None, "the space file was checked for it"
    if settings.by == "nondominated_rank":
        factor = settings.reduction_factor
        return NondominatedHalving(grace_iters=grace_iters, max_iters=max_iters, reduction_factor=factor)

    def build(first_rung: int) -> Scheduler:
        return _build_rule(spec, mode, first_rung, max_iters)

    if settings.finds_first_rung:
        return AfterPilots(settings.pilot_trials, smallest=grace_iters, max_iters=max_iters, build=build)
    return build(grace_iters)


def _build_rule(spec: SearchSpec, mode: Mode, grace_iters: int, max_iters: int) -> Scheduler:
    settings = spec.scheduler
    if settings.name == "median":
        return MedianStopping(mode=mode, grace_iters=grace_iters)
    rungs = {"grace_iters": grace_iters, "max_iters": max_iters, "reduction_factor": settings.reduction_factor}
    match settings.name, settings.form:
        case "asha", "stopping":
            return SuccessiveHalving(mode=mode, slack=settings.slack, **rungs)
        case "asha", "promotion":
            return PromotingHalving(mode=mode, slack=settings.slack, **rungs)
        case "hyperband", _:
            return Hyperband(mode=mode, slack=settings.slack, seed=spec.search.seed, **rungs)
        case _:
            return ProgressiveHalving(mode=mode, slack=settings.slack, **rungs)


def first_rung(spec: SearchSpec, history: History) -> int | None:
    """The iteration before which no trial is stopped; none without a rule, or while the pilots are not through."""
    if not spec.scheduler.finds_first_rung or spec.grace_iters is None or spec.max_iters is None:
        return spec.grace_iters
    return pilot_rung(history, spec.scheduler.pilot_trials, smallest=spec.grace_iters, max_iters=spec.max_iters)


def rungs_of(spec: SearchSpec, history: History) -> tuple[int, ...]:
    """Iterations below the full budget at which trials are compared; none for a rule that compares at every report."""
    first = first_rung(spec, history)
    if spec.scheduler.name in ("none", "median") or first is None or spec.max_iters is None:
        return ()
    return rung_iterations(first, spec.max_iters, spec.scheduler.reduction_factor)
