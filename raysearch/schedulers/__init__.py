"""Schedulers: rules for early stopping."""

from raysearch.history.history import History
from raysearch.schedulers.hyperband import Hyperband
from raysearch.schedulers.median_stopping import MedianStopping
from raysearch.schedulers.nondominated_halving import NondominatedHalving
from raysearch.schedulers.pilots import AfterPilots, pilot_rung
from raysearch.schedulers.progressive_halving import ProgressiveHalving
from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.successive_halving import PromotingHalving, SuccessiveHalving, rung_iterations
from raysearch.space.spec import SearchSpec

__all__ = ["Decision", "NeverStop", "Observation", "Scheduler", "build_scheduler", "first_rung", "rungs_of"]


class NeverStop(Scheduler):
    """The rule that trains every trial to its full budget."""

    def observe(self, seen: Observation) -> Decision:
        """Return the decision to continue."""
        return Decision.CONTINUE


def build_scheduler(spec: SearchSpec) -> Scheduler:
    """Build the scheduler that a space file names."""
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
        return _build_rule(spec, first_rung, max_iters)

    if settings.finds_first_rung:
        return AfterPilots(settings.pilot_trials, smallest=grace_iters, max_iters=max_iters, build=build)
    return build(grace_iters)


def _build_rule(spec: SearchSpec, grace_iters: int, max_iters: int) -> Scheduler:
    settings = spec.scheduler
    if settings.name == "median":
        return MedianStopping(grace_iters=grace_iters)
    rungs = {"grace_iters": grace_iters, "max_iters": max_iters, "reduction_factor": settings.reduction_factor}
    match settings.name, settings.form:
        case "asha", "stopping":
            return SuccessiveHalving(slack=settings.slack, **rungs)
        case "asha", "promotion":
            return PromotingHalving(slack=settings.slack, **rungs)
        case "hyperband", _:
            return Hyperband(slack=settings.slack, seed=spec.search.seed, **rungs)
        case _:
            return ProgressiveHalving(slack=settings.slack, **rungs)


def first_rung(spec: SearchSpec, history: History) -> int | None:
    """Return the iteration before which no trial is stopped; None without a rule or before the pilots have finished."""
    if not spec.scheduler.finds_first_rung or spec.grace_iters is None or spec.max_iters is None:
        return spec.grace_iters
    return pilot_rung(history, spec.scheduler.pilot_trials, smallest=spec.grace_iters, max_iters=spec.max_iters)


def rungs_of(spec: SearchSpec, history: History) -> tuple[int, ...]:
    """Return the iterations below the full budget at which trials are compared; none for a rule without rungs."""
    first = first_rung(spec, history)
    if spec.scheduler.name in ("none", "median") or first is None or spec.max_iters is None:
        return ()
    return rung_iterations(first, spec.max_iters, spec.scheduler.reduction_factor)
