"""Early-stopping rules: when a trial has shown enough to be stopped."""

from typing import Protocol

from raysearch.journal import Mode
from raysearch.schedulers.hyperband import Hyperband
from raysearch.schedulers.median_stopping import MedianStopping
from raysearch.schedulers.progressive_halving import ProgressiveHalving
from raysearch.schedulers.successive_halving import SuccessiveHalving, rung_iterations
from raysearch.space import SearchSpec


class Scheduler(Protocol):
    """An early-stopping rule: told every report in the order of the journal, it says who is to stop."""

    def observe(self, number: int, iteration: int, value: float) -> bool:
        """Take trial `number`'s value at `iteration` in; True when the trial should stop there."""
        ...


class NeverStop:
    """Every trial runs to its full budget."""

    def observe(self, number: int, iteration: int, value: float) -> bool:
        """Never stops."""
        return False


def build_scheduler(spec: SearchSpec, mode: Mode) -> Scheduler:
    """The early-stopping rule that a space file names."""
    settings = spec.scheduler
    if settings.name == "none":
        return NeverStop()
    grace_iters, max_iters, factor = spec.grace_iters, spec.max_iters, settings.reduction_factor
    assert grace_iters is not None, "the space file was checked for it"
    assert max_iters is not None, "the space file was checked for it"
    match settings.name:
        case "asha":
            return SuccessiveHalving(mode=mode, grace_iters=grace_iters, max_iters=max_iters, reduction_factor=factor)
        case "hyperband":
            return Hyperband(
                mode=mode,
                grace_iters=grace_iters,
                max_iters=max_iters,
                reduction_factor=factor,
                seed=spec.search.seed,
            )
        case "pasha":
            return ProgressiveHalving(mode=mode, grace_iters=grace_iters, max_iters=max_iters, reduction_factor=factor)
        case "median":
            return MedianStopping(mode=mode, grace_iters=grace_iters)


def rungs_of(spec: SearchSpec) -> tuple[int, ...]:
    """Iterations below the full budget at which trials are compared; none for a rule that compares at every report."""
    if spec.scheduler.name in ("none", "median") or spec.grace_iters is None or spec.max_iters is None:
        return ()
    return rung_iterations(spec.grace_iters, spec.max_iters, spec.scheduler.reduction_factor)
