"""MO-ASHA, successive halving for several objectives (Schmucker et al., arXiv 2106.12639), in its stopping form."""

from raysearch.history.pareto import best_places
from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.successive_halving import rung_iterations


class NondominatedHalving(Scheduler):
    """Successive halving in which the best 1/eta of a rung's trials are chosen by non-dominated fronts.

    The trials of a rung are ordered by their front. Trials of the same front are ordered so that they lie far apart
    (the epsilon net of the paper), so the first ones cover a front that is cut. As in successive halving, a decision
    counts the trials that have reached the rung so far, the best trial always continues, and trials with equal losses
    continue together. A repeated report gives the same decision.
    """

    def __init__(self, *, grace_iters: int, max_iters: int, reduction_factor: int) -> None:
        """Create the rungs.

        Args:
            grace_iters: Minimum resource r, in iterations.
            max_iters: Maximum resource R, in iterations.
            reduction_factor: eta; one in eta trials passes a rung.
        """
        self._reduction_factor = reduction_factor
        self._losses: dict[int, dict[int, tuple[float, ...]]] = {
            rung: {} for rung in rung_iterations(grace_iters, max_iters, reduction_factor)
        }

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung that it has reached; stop it unless it passes all of them."""
        stop = False
        for rung, entered in self._losses.items():
            if seen.iteration < rung or seen.number in entered:
                continue
            entered[seen.number] = tuple(seen.losses)
            stop |= not self._is_let_on(seen.number, entered)
        return Decision.STOP if stop else Decision.CONTINUE

    def _is_let_on(self, number: int, entered: dict[int, tuple[float, ...]]) -> bool:
        points = list(entered.values())
        places = best_places(points, max(1, len(points) // self._reduction_factor))
        return entered[number] in [points[place] for place in places]
