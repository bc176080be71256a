"""The median stopping rule (Golovin et al., Google Vizier, KDD 2017)."""

from bisect import bisect_right, insort
from statistics import median

from raysearch.schedulers.protocol import Decision, Observation, Scheduler

MIN_TRIALS = 3
"""Other trials that a median is taken of at least; the paper names no number."""


class MedianStopping(Scheduler):
    """Stops a trial at step s whose best value by s is strictly worse than the median of the others' running averages.

    A running average is the mean of all values that a trial reported up to s. Departing from the paper, which counts
    completed trials, every other trial that has reached s counts, whether it still runs, was stopped later or has
    completed: a search that runs trials side by side would otherwise wait for the first to complete. A trial repeating
    a report after a restart changes nothing.
    """

    def __init__(self, *, grace_iters: int) -> None:
        """Set the rule up.

        Args:
            grace_iters: No trial is stopped at a smaller iteration.
        """
        assert grace_iters >= 1
        self._grace_iters = grace_iters
        self._curves: dict[int, list[tuple[int, float]]] = {}
        """Iteration and running average at every report of a trial."""
        self._best: dict[int, float] = {}
        self._averages: dict[int, list[float]] = {}
        """By step: the running averages of the trials that have reached it, sorted."""

    def observe(self, seen: Observation) -> Decision:
        """Enter the report, whatever its noise; stop a trial that falls behind the median."""
        number, iteration, loss = seen.number, seen.iteration, seen.loss
        curve = self._curves.setdefault(number, [])
        last, average = curve[-1] if curve else (0, 0.0)
        if iteration <= last:
            return Decision.CONTINUE
        best = self._best[number] = min(loss, self._best.get(number, loss))
        if iteration not in self._averages:
            self._averages[iteration] = self._averages_at(iteration)
        others = self._averages[iteration]
        stop = iteration >= self._grace_iters and len(others) >= MIN_TRIALS and best > median(others)
        if curve:
            for step, averages in self._averages.items():
                if last < step < iteration:
                    insort(averages, average)
        average += (loss - average) / (len(curve) + 1)
        curve.append((iteration, average))
        insort(others, average)
        return Decision.STOP if stop else Decision.CONTINUE

    def _averages_at(self, step: int) -> list[float]:
        """The running averages at a step at which no trial has reported yet, of those that have gone beyond it."""
        beyond = [curve for curve in self._curves.values() if curve and curve[0][0] < step < curve[-1][0]]
        return sorted(curve[bisect_right(curve, step, key=lambda point: point[0]) - 1][1] for curve in beyond)
