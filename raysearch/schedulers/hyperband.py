"""Asynchronous Hyperband (Li et al., arXiv 1810.05934), based on Hyperband (Li et al., arXiv 1603.06560)."""

import math

import numpy as np

from raysearch.schedulers.protocol import Decision, Observation, Scheduler
from raysearch.schedulers.rung import Slack
from raysearch.schedulers.successive_halving import SuccessiveHalving, rung_iterations

_STREAM = 2
"""Number that makes these draws independent of those of the algorithms and the audit, which use the same seed."""


class Hyperband(Scheduler):
    """Brackets of asynchronous successive halving that differ in their first rung; every trial belongs to one.

    With s_max rungs below the full budget, bracket s in s_max, ..., 0 has the last s of them. Bracket s_max stops as
    early as plain successive halving does, bracket 0 never. Hyperband gives bracket s n_s = ceil((s_max + 1) / (s + 1)
    * eta^s) trials (algorithm 1). Here a trial's bracket is drawn with these weights from the seed and the trial's
    number, so it does not depend on other trials. Brackets only have the stopping form.
    """

    def __init__(
        self, *, grace_iters: int, max_iters: int, reduction_factor: int, seed: int, slack: Slack = 0.0
    ) -> None:
        """Create the brackets.

        Args:
            grace_iters: First rung of the bracket that stops earliest, in iterations.
            max_iters: Maximum resource R, in iterations.
            reduction_factor: eta.
            seed: Seed of the search.
            slack: Distance to the cut of a rung within which a trial also passes.
        """
        rungs = rung_iterations(grace_iters, max_iters, reduction_factor)
        self.brackets = [
            SuccessiveHalving(
                grace_iters=first_rung,
                max_iters=max_iters,
                reduction_factor=reduction_factor,
                slack=slack,
            )
            for first_rung in (*rungs, max_iters)
        ]
        """Brackets from s_max down to 0."""
        sizes = bracket_sizes(len(rungs), reduction_factor)
        self._shares = np.array(sizes) / sum(sizes)
        self._seed = seed
        self._bracket_of: dict[int, int] = {}
        """Brackets that have been drawn, by trial."""

    def observe(self, seen: Observation) -> Decision:
        """Enter the trial at every rung of its bracket that it has reached; stop it unless it passes all of them."""
        return self.brackets[self.bracket_of(seen.number)].observe(seen)

    def bracket_of(self, number: int) -> int:
        """Return the index of a trial's bracket in `brackets`."""
        if number not in self._bracket_of:
            draws = np.random.default_rng(np.random.SeedSequence([self._seed, number], spawn_key=(_STREAM,)))
            self._bracket_of[number] = int(draws.choice(len(self.brackets), p=self._shares))
        return self._bracket_of[number]


def bracket_sizes(s_max: int, reduction_factor: int) -> list[int]:
    """Return n_s, the number of trials that Hyperband starts in bracket s, for s from s_max down to 0."""
    return [math.ceil((s_max + 1) * reduction_factor**s / (s + 1)) for s in range(s_max, -1, -1)]
