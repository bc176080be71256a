"""PASHA, progressive successive halving (Bohdal et al., ICLR 2023, arXiv 2207.06940), in a stopping form."""

from collections.abc import Mapping
from itertools import combinations, pairwise

import numpy as np

from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung import Rung, Slack
from raysearch.schedulers.successive_halving import rung_iterations

_PERCENTILE = 90
"""N: epsilon is this percentile of the differences between trials whose order is noise."""


class ProgressiveHalving(Scheduler):
    """Successive halving up to a top rung K_t, which only rises while the ranking of the two top rungs is unstable.

    It starts with the rungs 0 and 1 (K_0 = 1; the paper's R_0 = eta * r). Whenever a trial enters the top rung, the
    trials there are ranked by their values in it and by their values in the rung below. The ranking is stable if at
    every position the two trials differ by at most epsilon in the rung below (soft ranking). If it is not stable, K_t
    rises by one, up to the full budget R. A trial that enters the top rung while the ranking is stable stops there.

    The paper pauses trials at a rung and may promote them later. Here a trial at a rung continues or stops for good,
    and trials that stopped at an earlier top rung are not resumed when it rises. The winner may therefore have had less
    than the full budget. Train it to the end, as the paper does.
    """

    def __init__(self, *, grace_iters: int, max_iters: int, reduction_factor: int, slack: Slack = 0.0) -> None:
        """Create the rungs.

        Args:
            grace_iters: Minimum resource r, in iterations.
            max_iters: Maximum resource R, in iterations, which is the last rung.
            reduction_factor: eta; one in eta trials passes a rung below the top.
            slack: Distance to the cut of a rung below the top, within which a trial also passes.
        """
        self.rungs = (*rung_iterations(grace_iters, max_iters, reduction_factor), max_iters)
        assert len(self.rungs) > 2, "the space file was checked for room to grow"
        self.top = 1
        """K_t, the index of the top rung in `rungs`."""
        self._rungs = [Rung(reduction_factor, slack) for _ in self.rungs]
        self._curves: dict[int, dict[int, float]] = {}

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung that it has reached; stop it unless it passes all of them."""
        number, iteration, loss = seen.number, seen.iteration, seen.loss
        self._curves.setdefault(number, {}).setdefault(iteration, loss)
        stop = False
        for k, (first_iteration, rung) in enumerate(zip(self.rungs, self._rungs, strict=True)):
            if iteration < first_iteration or number in rung:
                continue
            rung.enter(number, loss, seen.draws)
            if k == self.top and k + 1 < len(self.rungs) and not self._top_is_stable():
                self.top += 1
            stop |= k >= self.top or not rung.lets_on(number)
        return Decision.STOP if stop else Decision.CONTINUE

    def _top_is_stable(self) -> bool:
        below, top = self._rungs[self.top - 1].losses, self._rungs[self.top].losses
        epsilon = noise_level({number: self._curves[number] for number in top})
        return soft_ranks_agree({number: below[number] for number in top}, top, epsilon)


def soft_ranks_agree(below: Mapping[int, float], top: Mapping[int, float], epsilon: float) -> bool:
    """Return True if the trials have the same order in two rungs, up to swaps within epsilon in the rung below."""
    by_top = sorted(top, key=lambda number: (top[number], below[number]))
    by_below = sorted(below, key=lambda number: below[number])
    return all(abs(below[a] - below[b]) <= epsilon for a, b in zip(by_top, by_below, strict=True))


def noise_level(curves: Mapping[int, Mapping[int, float]]) -> float:
    """Return epsilon, the 90th percentile of the last differences of pairs of trials whose curves cross twice.

    In such a pair, first one trial, then the other, then the first again is ahead, so their order is noise. Without
    such a pair, epsilon is 0, which gives the plain ranking.
    """
    distances = []
    for first, second in combinations(curves.values(), 2):
        differences = [first[iteration] - second[iteration] for iteration in sorted(first.keys() & second.keys())]
        signs = [difference > 0 for difference in differences if difference != 0]
        num_crossings = sum(a != b for a, b in pairwise(signs))
        if num_crossings >= 2:
            distances.append(abs(differences[-1]))
    return float(np.percentile(distances, _PERCENTILE)) if distances else 0.0
