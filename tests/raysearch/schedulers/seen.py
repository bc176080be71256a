"""Reports as a scheduler sees them, of scores of which large ones are good."""

from collections.abc import Sequence

from raysearch.schedulers import Decision, Observation, Scheduler


def stops(rule: Scheduler, number: int, iteration: int, value: float, draws: Sequence[float] = ()) -> bool:
    """Let the rule see a score; return True if the trial does not go on."""
    return rule.observe(Observation(number, iteration, (-value,), draws)) is not Decision.CONTINUE
