"""The median stopping rule (Golovin et al., Google Vizier, KDD 2017)."""

from bisect import bisect_right, insort

from raysearch.schedulers.protocol import Decision, Observation, Scheduler

MIN_TRIALS = 3
"""Least number of other trials for a median; the paper gives none."""


class MedianStopping(Scheduler):
    """A rule that stops a trial whose best value is worse than the median of the other trials' running averages.

    The best value of the trial by step s is compared with the running averages of the others, that is, the means of all
    values that they reported up to s. The paper counts completed trials only. Here all other trials that have reached s
    count, because a search with parallel trials would otherwise wait for the first to complete. A report that is
    repeated after a restart changes nothing.
    """

    def __init__(self, *, grace_iters: int) -> None:
        """Create the rule.

        Args:
            grace_iters: Iteration before which no trial is stopped.
        """
        assert grace_iters >= 1
        self._grace_iters = grace_iters
        self._curves: dict[int, list[tuple[int, float]]] = {}
        """Iteration and running average at every report, by trial."""
        self._best: dict[int, float] = {}
        self._averages: dict[int, list[float]] = {}
        """Sorted running averages of the trials that have reached a step, by step."""

    def observe(self, seen: Observation) -> Decision:
        """Record the report and stop the trial if it is behind the median."""
        number, iteration, loss = seen.number, seen.iteration, seen.loss
        curve = self._curves.setdefault(number, [])
        last, average = curve[-1] if curve else (0, 0.0)
        if iteration <= last:
            return Decision.CONTINUE
        best = self._best[number] = min(loss, self._best.get(number, loss))
        if iteration not in self._averages:
            self._averages[iteration] = self._averages_at(iteration)
        others = self._averages[iteration]
        stop = iteration >= self._grace_iters and len(others) >= MIN_TRIALS and best > _median(others)
        if curve:
            for step, averages in self._averages.items():
                if last < step < iteration:
                    insort(averages, average)
        average += (loss - average) / (len(curve) + 1)
        curve.append((iteration, average))
        insort(others, average)
        return Decision.STOP if stop else Decision.CONTINUE

    def _averages_at(self, step: int) -> list[float]:
        """Return the running averages at a step without a report so far, for the trials that have passed it."""
        beyond = [curve for curve in self._curves.values() if curve and curve[0][0] < step < curve[-1][0]]
        return sorted(curve[bisect_right(curve, step, key=lambda point: point[0]) - 1][1] for curve in beyond)


def _median(ordered: list[float]) -> float:
    """Return the median of sorted numbers."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
