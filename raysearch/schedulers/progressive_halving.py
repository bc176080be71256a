"""PASHA, progressive successive halving (Bohdal et al., ICLR 2023, arXiv 2207.06940), in a stopping form."""

from collections.abc import Mapping
from itertools import combinations, pairwise

import numpy as np

from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung import Rung, Slack
from raysearch.schedulers.successive_halving import rung_iterations

_PERCENTILE = 90
"""N: epsilon is this percentile of the distances between trials that noise alone tells apart."""


class ProgressiveHalving(Scheduler):
    """Successive halving up to a top rung K_t, which rises only while the ranking of the two top rungs is unstable.

    It begins with the rungs 0 and 1 (K_0 = 1; the paper's R_0 = eta * r). Whenever a trial enters the top rung, the
    trials there are ranked by their values in it and by those in the rung below. The ranking is stable when at every
    position the two trials differ by at most epsilon in the rung below (soft ranking); else K_t rises by one, at most
    to the full budget R. A trial that enters the top rung while the ranking is stable stops there.

    The paper pauses trials at a rung and may promote them later; here a trial at a rung goes on or stops for good, and
    those that stopped at an earlier top rung are not taken up again when it rises. The winner may therefore have had
    less than the full budget: train it to the end, as the paper does.
    """

    def __init__(self, *, grace_iters: int, max_iters: int, reduction_factor: int, slack: Slack = 0.0) -> None:
        """Set the rungs.

        Args:
            grace_iters: The minimum resource r, in iterations.
            max_iters: The maximum resource R, in iterations; the last rung.
            reduction_factor: eta; a rung below the top lets one in eta on.
            slack: How far behind those a trial still passes a rung below the top.
        """
        self.rungs = (*rung_iterations(grace_iters, max_iters, reduction_factor), max_iters)
        assert len(self.rungs) > 2, "the space file was checked for room to grow"
        self.top = 1
        """K_t, the place of the top rung in `rungs`."""
        self._rungs = [Rung(reduction_factor, slack) for _ in self.rungs]
        self._curves: dict[int, dict[int, float]] = {}

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung it has reached; stop it if one of those does not let it on."""
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
    """Whether the same trials rank alike in two rungs, those within epsilon of one another below being exchangeable."""
    by_top = sorted(top, key=lambda number: (top[number], below[number]))
    by_below = sorted(below, key=lambda number: below[number])
    return all(abs(below[a] - below[b]) <= epsilon for a, b in zip(by_top, by_below, strict=True))


def noise_level(curves: Mapping[int, Mapping[int, float]]) -> float:
    """Epsilon: the 90th percentile of the last distances of the pairs of trials whose curves cross and cross back.

    Such a pair, of which first one, then the other, then the first is ahead, is told apart by noise alone. Without one
    epsilon is 0: the plain ranking.
    """
    distances = []
    for first, second in combinations(curves.values(), 2):
        differences = [first[iteration] - second[iteration] for iteration in sorted(first.keys() & second.keys())]
        signs = [difference > 0 for difference in differences if difference != 0]
        num_crossings = sum(a != b for a, b in pairwise(signs))
        if num_crossings >= 2:
            distances.append(abs(differences[-1]))
    return float(np.percentile(distances, _PERCENTILE)) if distances else 0.0
