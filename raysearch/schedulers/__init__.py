"""Early-stopping rules: when a trial has shown enough to be stopped."""

from typing import Protocol

from raysearch.journal import Mode
from raysearch.schedulers.successive_halving import SuccessiveHalving
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
    match spec.scheduler.name:
        case "asha":
            assert spec.grace_iters is not None and spec.max_iters is not None, "the space file was checked for both"
            return SuccessiveHalving(
                mode=mode,
                grace_iters=spec.grace_iters,
                max_iters=spec.max_iters,
                reduction_factor=spec.scheduler.reduction_factor,
            )
        case "none":
            return NeverStop()
