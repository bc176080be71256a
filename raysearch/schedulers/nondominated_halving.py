"""MO-ASHA, successive halving for several objectives (Schmucker et al., arXiv 2106.12639), in its stopping form."""

from raysearch.history.pareto import best_places
from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.successive_halving import rung_iterations


class NondominatedHalving(Scheduler):
    """Rungs as in successive halving; a rung lets the best 1/eta of its trials on, by nondominated fronts.

    The trials of a rung are ordered by the front they lie in, those of one front so that they lie far apart (the
    epsilon net of the paper): where a front is cut, what stays covers it. As in successive halving, a decision counts
    the trials that reached the rung so far, the best goes on always, trials of equal losses go on together, and a
    trial that repeats a report decides as it did before.
    """

    def __init__(self, *, grace_iters: int, max_iters: int, reduction_factor: int) -> None:
        """Set the rungs.

        Args:
            grace_iters: The minimum resource r, in iterations.
            max_iters: The maximum resource R, in iterations.
            reduction_factor: eta; a rung lets one in eta on.
        """
        self._reduction_factor = reduction_factor
        self._losses: dict[int, dict[int, tuple[float, ...]]] = {
            rung: {} for rung in rung_iterations(grace_iters, max_iters, reduction_factor)
        }

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung it has reached; stop it if one of those does not let it on."""
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
