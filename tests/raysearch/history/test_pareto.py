import random

import pytest

from raysearch.history.events import Mode
from raysearch.history.history import History
from raysearch.history.metric_names import PEAK_MEMORY
from raysearch.history.pareto import best_places, nondominated_ranks, pareto_set
from tests.raysearch.report.histories import history_of, trial


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@pytest.mark.parametrize("dimensions", [2, 3])
def test_ranks_are_those_of_peeling_front_after_front(dimensions: int) -> None:
    """This guards a private function of Optuna."""
    rng = random.Random(0)
    points = [tuple(float(rng.randrange(6)) for _ in range(dimensions)) for _ in range(60)]
    expected: dict[int, int] = {}
    rank = 0
    while len(expected) < len(points):
        left = [i for i in range(len(points)) if i not in expected]
        expected |= {i: rank for i in left if not any(dominates(points[j], points[i]) for j in left)}
        rank += 1
    assert rank > 3
    assert nondominated_ranks(points).tolist() == [expected[i] for i in range(len(points))]


def test_nothing_has_no_ranks() -> None:
    assert nondominated_ranks([]).tolist() == []
    assert best_places([], 3) == []


def test_within_a_front_the_farthest_follows() -> None:
    # One front goes from (0, 10) to (10, 0), and the point (5, 9) is behind it. Both ranges are 10. The net starts at
    # (0, 10), the best in the first objective. The farthest point from it is (10, 0). Then comes (4, 5), .64 away from
    # its nearest chosen point, while (1, 9) is .14 and (9, 0.5) .11 away.
    points = [(1, 9), (10, 0), (4, 5), (0, 10), (9, 0.5), (5, 9)]
    assert best_places(points, 6) == [3, 1, 2, 0, 4, 5]
    assert best_places(points, 3) == [3, 1, 2]
    assert best_places(points, 9) == best_places(points, 6)


def test_distances_do_not_depend_on_units() -> None:
    rng = random.Random(1)
    points = [(rng.random(), rng.random()) for _ in range(30)]
    in_bytes = [(a, 2.0**30 * b) for a, b in points]
    assert best_places(in_bytes, 30) == best_places(points, 30)


def test_an_objective_that_is_the_same_for_all_changes_nothing() -> None:
    assert best_places([(2.0, 7.0), (1.0, 7.0), (3.0, 7.0)], 3) == [1, 0, 2]


def of_two(*trials: tuple[list[tuple[float, float]], str], modes: tuple[Mode, Mode] = ("max", "min")) -> History:
    history = history_of(
        *(trial({"views": 1}, [score for score, _ in reports], status) for reports, status in trials),  # type: ignore[arg-type]
        mode=modes[0],
    )
    history.further = (("time", modes[1]),)
    for one, (reports, _) in zip(history.trials, trials, strict=True):
        for iteration, (_, time) in enumerate(reports, start=1):
            one.reports[iteration].metrics["time"] = time  # type: ignore[index]
    return history


def test_the_pareto_set_is_what_nothing_beats_in_all_objectives() -> None:
    history = of_two(
        ([(0.5, 2.0)], "completed"),
        ([(0.7, 4.0)], "completed"),
        ([(0.6, 4.0)], "completed"),  # not better than trial 1 in either objective
        ([(0.3, 1.0)], "stopped"),
        ([(0.9, 0.1)], "infeasible"),
        ([(0.9, 0.1)], "failed"),
        ([], "running"),
        ([(0.5, 2.0)], "completed"),  # equal to trial 0
    )
    assert [one.number for one in pareto_set(history)] == [1, 0, 7, 3]


def test_modes_turn_the_set_around() -> None:
    history = of_two(([(0.5, 2.0)], "completed"), ([(0.7, 4.0)], "completed"), modes=("min", "max"))
    assert [one.number for one in pareto_set(history)] == [0, 1]
    history = of_two(([(0.5, 2.0)], "completed"), ([(0.7, 4.0)], "completed"), modes=("min", "min"))
    assert [one.number for one in pareto_set(history)] == [0]


def test_a_trial_counts_with_its_best_report_by_the_first_objective() -> None:
    """The best values of each objective do not count, because no single report reaches them all."""
    history = of_two(([(0.5, 1.0), (0.7, 3.0), (0.6, 0.5)], "completed"))
    assert history.values_of(history.trials[0]) == (0.7, 3.0)
    assert history.losses((0.7, 3.0)) == (-0.7, 3.0)


def test_peak_memory_is_that_of_the_whole_trial() -> None:
    history = history_of(trial({}, [0.7, 0.6]))
    history.further = ((PEAK_MEMORY, "min"),)
    history.trials[0].peak_memory_bytes = 4096
    assert history.values_of(history.trials[0]) == (0.7, 4096.0)
