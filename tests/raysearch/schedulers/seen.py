"""Helpers that make reports and pass them to a scheduler; large scores are good."""

import random
from collections.abc import Sequence

from raysearch.schedulers import Decision, Observation, Scheduler


def stops(rule: Scheduler, number: int, iteration: int, value: float, draws: Sequence[float] = ()) -> bool:
    """Pass a score to the rule; return True if the trial does not continue."""
    return rule.observe(Observation(number, iteration, (-value,), draws)) is not Decision.CONTINUE


def random_reports(seed: int, num_trials: int = 24) -> list[tuple[int, int, float]]:
    """Return reports of parallel trials, each at its own iterations; better trials tend to stay better."""
    rng = random.Random(seed)
    quality = [rng.gauss(0, 1) for _ in range(num_trials)]
    reached = dict.fromkeys(range(num_trials), 0)
    reports = []
    while reached:
        number = rng.choice(list(reached))
        reached[number] += rng.choice([1, 1, 1, 2])
        reports.append((number, reached[number], quality[number] + rng.gauss(0, 0.5)))
        if reached[number] >= 8:
            del reached[number]
    return reports


def decisions(rule: Scheduler, reports: list[tuple[int, int, float]]) -> list[bool]:
    return [stops(rule, *report) for report in reports]
