"""Tests of benchmark parts on synthetic functions, with results computed by hand."""

import numpy as np
import pytest

from benchmarks.confirmed_claims import claims
from benchmarks.several_objectives import hypervolume, zdt1
from benchmarks.warm_start import hartmann


def test_hypervolume_is_the_area_of_the_steps() -> None:
    assert hypervolume([(0.5, 4.0), (0.25, 8.0), (0.6, 5.0), (2.0, 0.0)]) == pytest.approx(0.75 * 2.0 + 0.5 * 4.0)


def test_zdt1_on_its_front() -> None:
    x = {f"x{i}": 0.0 for i in range(1, 11)}
    assert zdt1({**x, "x1": 0.25}) == (0.25, 0.5)


def test_hartmann_at_its_known_maximum() -> None:
    best = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)
    assert hartmann({f"x{i}": value for i, value in enumerate(best)}) == pytest.approx(3.32237, abs=1e-4)


def test_a_clear_lead_is_claimed_and_equal_scores_are_not() -> None:
    noise = np.array([[0.0, 0.1, 0.2], [0.01, 0.08, 0.22], [0.0, 0.1, 0.19]])
    assert claims(noise + np.array([[1.0], [0.0], [0.0]])) == (True, True)
    assert claims(noise) == (False, False)
