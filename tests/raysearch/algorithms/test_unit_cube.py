import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.algorithms.unit_cube import around, from_unit, to_unit


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(-1.0, 3.0),
        FloatDistribution(1e-4, 10.0, log=True),
        FloatDistribution(0.0, 1.0, step=0.1),
        IntDistribution(0, 10),
        IntDistribution(1, 1000, log=True),
        IntDistribution(2, 20, step=3),
        CategoricalDistribution(["a", "b", "c"]),
    ],
)
def test_the_unit_interval_covers_a_distribution(distribution: Any) -> None:
    points = [i / 1000 for i in range(1000)]
    values = [from_unit(distribution, u) for u in points]
    assert all(distribution._contains(distribution.to_internal_repr(v)) for v in values)
    if isinstance(distribution, CategoricalDistribution):
        assert [values.count(c) for c in distribution.choices] == [334, 333, 333]
        return
    assert values == sorted(values)
    assert math.isclose(values[0], distribution.low)
    assert math.isclose(values[-1], distribution.high, rel_tol=0.02)
    for value in values[::97]:
        assert math.isclose(from_unit(distribution, to_unit(distribution, value)), value, rel_tol=1e-9)


def test_points_near_a_border_do_not_gather_on_it() -> None:
    points = around(np.array([[0.0, 0.5]]), 1000, np.random.default_rng(0), (0.1, 0.1))
    assert points.min() >= 0.0
    assert points.max() < 1.0
    moved = points[points[:, 0] > 0.0, 0]
    assert 400 < len(moved) < 600  # about half of the coordinates keep their value
