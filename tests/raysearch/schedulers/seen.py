"""Helpers that pass reports to a scheduler; large scores are good."""

from collections.abc import Sequence

from raysearch.schedulers import Decision, Observation, Scheduler


def stops(rule: Scheduler, number: int, iteration: int, value: float, draws: Sequence[float] = ()) -> bool:
    """Pass a score to the rule; return True if the trial does not continue."""
    return rule.observe(Observation(number, iteration, (-value,), draws)) is not Decision.CONTINUE
