"""Several objectives: the Pareto set, and an order of trials that spreads them over the front."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from optuna.study._multi_objective import _fast_non_domination_rank

from raysearch.history.history import History, TrialHistory


def pareto_set(history: History) -> list[TrialHistory]:
    """Return the trials that no other trial dominates, the best by the first objective first.

    A trial dominates another if it is no worse in every objective and better in one, or if it violates the constraints
    on reported metrics less. A stopped trial counts with the values that it reached. Failed and infeasible trials do
    not count.
    """
    violations = {trial.number: s[0] for trial in history.trials if (s := history.standing(trial)) is not None}
    least = min(violations.values(), default=0.0)
    numbers = [number for number, violation in violations.items() if violation == least]
    losses = [history.losses(history.values_of(history.trials[number]) or ()) for number in numbers]
    places = np.flatnonzero(nondominated_ranks(losses) == 0)
    return [history.trials[number] for _, number in sorted((losses[place], numbers[place]) for place in places)]


def nondominated_ranks(losses: Sequence[Sequence[float]]) -> npt.NDArray[np.int64]:
    """Return the index of the non-dominated front of each of (N, M) losses.

    Front 0 holds the points that no point dominates, front 1 the points that only points of front 0 dominate, and so
    on. Equal points are on the same front.
    """
    if not losses:
        return np.empty(0, dtype=np.int64)
    return np.asarray(_fast_non_domination_rank(np.asarray(losses, dtype=np.float64)), dtype=np.int64)


def best_places(losses: Sequence[Sequence[float]], count: int) -> list[int]:
    """Return the indices of the best `count` of (N, M) losses: front by front, spread out within each front.

    The order within a front is the epsilon net of MO-ASHA (Schmucker et al., arXiv 2106.12639). It begins with the
    point that is best in the first objective. The point that lies farthest from all chosen points follows. Distances
    are Euclidean. Unlike in the paper, every objective is scaled to its range over all points. Of equal points the
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
