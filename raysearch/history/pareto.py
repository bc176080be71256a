"""Several objectives: which trials no other one beats in all of them, and an order of trials that keeps them apart."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from optuna.study._multi_objective import _fast_non_domination_rank

from raysearch.history.history import History, TrialHistory


def pareto_set(history: History) -> list[TrialHistory]:
    """The trials that no other one dominates, the best by the first objective first.

    One trial dominates another where it is no worse in every objective and better in one, or where it violates the
    constraints on what is reported less. Of a trial that was stopped, what it had reached counts; trials that failed or
    were infeasible count for nothing.
    """
    violations = {trial.number: s[0] for trial in history.trials if (s := history.standing(trial)) is not None}
    least = min(violations.values(), default=0.0)
    numbers = [number for number, violation in violations.items() if violation == least]
    losses = [history.losses(history.values_of(history.trials[number]) or ()) for number in numbers]
    places = np.flatnonzero(nondominated_ranks(losses) == 0)
    return [history.trials[number] for _, number in sorted((losses[place], numbers[place]) for place in places)]


def nondominated_ranks(losses: Sequence[Sequence[float]]) -> npt.NDArray[np.int64]:
    """The front of every point (N, M), small being good: 0 where none dominates it, 1 where only those of front 0 do.

    So on to the last. Equal points share a front.
    """
    if not losses:
        return np.empty(0, dtype=np.int64)
    return np.asarray(_fast_non_domination_rank(np.asarray(losses, dtype=np.float64)), dtype=np.int64)


def best_places(losses: Sequence[Sequence[float]], count: int) -> list[int]:
    """Places of the best `count` points (N, M), best first: by front, and within a front so that they lie far apart.

    The order within a front is that of MO-ASHA (Schmucker et al., arXiv 2106.12639), an epsilon net: it begins with
    the point that is best in the first objective; whichever lies farthest from all that were taken follows. Distances
    are Euclidean, every objective scaled to its range over all points, of which the paper says nothing. Of equals the
    earlier comes first.
    """
    points = np.asarray(losses, dtype=np.float64)
    ranks = nondominated_ranks(losses)
    widths = np.ptp(points, axis=0) if len(points) else np.ones(0)
    scaled = points / np.where(widths > 0, widths, 1.0)
    places: list[int] = []
    for rank in range(int(ranks.max(initial=-1)) + 1):
        front = np.flatnonzero(ranks == rank)
        wanted = min(count - len(places), len(front))
        if wanted <= 0:
            break
        places += front[_epsilon_net(scaled[front], wanted)].tolist()
    return places


def _epsilon_net(points: npt.NDArray[np.float64], count: int) -> list[int]:
    taken = [int(np.lexsort(points.T[::-1])[0])]
    distances = np.full(len(points), np.inf)
    while len(taken) < count:
        distances = np.minimum(distances, np.linalg.norm(points - points[taken[-1]], axis=1))
        distances[taken[-1]] = -1.0
        taken.append(int(distances.argmax()))
    return taken
