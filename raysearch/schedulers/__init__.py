"""Schedulers: rules for early stopping."""

from raysearch.history.history import History
from raysearch.schedulers.hyperband import Hyperband
from raysearch.schedulers.learned_stopping import LearnedStopping
from raysearch.schedulers.median_stopping import MedianStopping
from raysearch.schedulers.nondominated_halving import NondominatedHalving
from raysearch.schedulers.progressive_halving import ProgressiveHalving
from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.successive_halving import PromotingHalving, SuccessiveHalving, rung_iterations
from raysearch.space.spec import SearchSpec

__all__ = ["Decision", "NeverStop", "Observation", "Scheduler", "build_scheduler", "rungs_of", "stops_from"]


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
    if settings.name == "median":
        return MedianStopping(grace_iters=grace_iters)
    rungs = {"grace_iters": grace_iters, "max_iters": max_iters, "reduction_factor": settings.reduction_factor}
    if settings.by == "nondominated_rank":
        return NondominatedHalving(**rungs)
    if settings.is_learned:
        return LearnedStopping(settings.pilot_trials, slack=settings.slack, **rungs)
    match settings.name, settings.form:
        case "asha", "stopping":
            return SuccessiveHalving(slack=settings.slack, **rungs)
        case "asha", "promotion":
            return PromotingHalving(slack=settings.slack, **rungs)
        case "hyperband", _:
            return Hyperband(slack=settings.slack, seed=spec.search.seed, **rungs)
        case _:
            return ProgressiveHalving(slack=settings.slack, **rungs)


def rungs_of(spec: SearchSpec) -> tuple[int, ...]:
    """Return the iterations below the full budget at which trials are compared; none for a rule without rungs."""
    if spec.scheduler.name in ("none", "median") or spec.scheduler.is_learned:
        return ()
    if spec.grace_iters is None or spec.max_iters is None:
        return ()
    return rung_iterations(spec.grace_iters, spec.max_iters, spec.scheduler.reduction_factor)


def stops_from(spec: SearchSpec, history: History) -> int | None:
    """Return the first iteration at which `grace_iters: auto` would now stop the worst trial; None if it stops none."""
    rule = build_scheduler(spec)
    assert isinstance(rule, LearnedStopping)
    for trial in sorted(history.trials, key=lambda trial: (trial.end_order is None, trial.end_order)):
        for report in trial.reports.values():
            rule.observe(Observation(trial.number, report.iteration, history.losses(history.values_at(trial, report))))
    return rule.stops_from()
