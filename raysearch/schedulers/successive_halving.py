"""Asynchronous successive halving in its stopping form (Li et al., MLSys 2020, arXiv 1810.05934)."""

from collections.abc import Mapping

from raysearch.journal import Mode


class SuccessiveHalving:
    """Rungs at r, r*eta, r*eta^2, ... iterations below the full budget R; a rung lets the best 1/eta of its trials on.

    A trial's value at a rung is that of its first report at or beyond the rung. The decision counts the trials that
    reached the rung so far, the deciding one included, and always lets the best on. Rungs are keyed by trial number, so
    a trial that repeats a report after a restart decides as it did before.
    """

    def __init__(self, *, mode: Mode, grace_iters: int, max_iters: int, reduction_factor: int) -> None:
        """Set the rungs.

        Args:
            mode: Whether large or small values are good.
            grace_iters: The minimum resource r, in iterations.
            max_iters: The maximum resource R, in iterations.
            reduction_factor: eta; a rung lets one in eta on.
        """
        assert 1 <= grace_iters <= max_iters and reduction_factor >= 2
        self._sign = 1.0 if mode == "min" else -1.0
        self._reduction_factor = reduction_factor
        self.rungs = rung_iterations(grace_iters, max_iters, reduction_factor)
        self._losses: dict[int, dict[int, float]] = {rung: {} for rung in self.rungs}

    def observe(self, number: int, iteration: int, value: float) -> bool:
        """Enter trial `number` at every rung it has reached; True when one of those would not let it on."""
        stop = False
        for rung in self.rungs:
            losses = self._losses[rung]
            if iteration < rung or number in losses:
                continue
            losses[number] = self._sign * value
            stop |= not is_let_on(number, losses, self._reduction_factor)
        return stop


def is_let_on(number: int, losses: Mapping[int, float], reduction_factor: int) -> bool:
    """Whether a trial is among the best 1/reduction_factor of a rung, of which there is always one; ties go on."""
    num_let_on = max(1, len(losses) // reduction_factor)
    return losses[number] <= sorted(losses.values())[num_let_on - 1]


def rung_iterations(grace_iters: int, max_iters: int, reduction_factor: int) -> tuple[int, ...]:
    """Iterations of the rungs: grace_iters times the powers of reduction_factor, all below max_iters."""
    rungs = []
    rung = grace_iters
    while rung < max_iters:
        rungs.append(rung)
        rung *= reduction_factor
    return tuple(rungs)
