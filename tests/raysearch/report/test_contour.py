import math
import random

import pytest
from optuna.distributions import FloatDistribution

from raysearch.report.contour import ContourInfo, contour_info, contour_parts
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial

SPACE = {path: FloatDistribution(0.0, 1.0) for path in ("a", "b", "c")} | {"lr": FloatDistribution(0.01, 1.0, log=True)}


def hill(sign: float = 1.0, mode: str = "max", noise: float = 0.0) -> ContourInfo | str:
    """Return the contour of a hill over `a` and `lr` with its top at 0.3 and 0.1; `c` has no effect."""
    rng = random.Random(0)
    trials = []
    for number in range(60):
        values = {"c": rng.random(), "a": rng.random(), "lr": 10 ** rng.uniform(-2, 0)}
        score = 1 - 4 * (values["a"] - 0.3) ** 2 - 0.25 * (math.log10(values["lr"]) + 1) ** 2
        score = rng.gauss(0.0, noise) if noise else score
        trials.append(trial(values, [sign * score], is_default=number == 0, space=SPACE))
    return contour_info(SearchView(history_of(*trials, mode=mode), "miou"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("sign", "mode"), [(1.0, "max"), (-1.0, "min")])
def test_the_surface_is_that_of_the_two_numbers_that_decide(sign: float, mode: str) -> None:
    info = hill(sign, mode)
    assert isinstance(info, ContourInfo)
    assert info.paths == ("a", "lr")
    assert info.is_log == (False, True)
    assert (info.is_max, info.iteration, len(info.points)) == (mode == "max", 1, 60)
    assert (info.grid[0][0], info.grid[0][-1]) == (0.0, 1.0)
    assert (info.grid[1][0], info.grid[1][-1]) == (0.01, 1.0)
    assert info.explained > 0.98
    height, row, column = max((sign * value, y, x) for y, row in enumerate(info.surface) for x, value in enumerate(row))
    assert height == pytest.approx(1.0, abs=0.01)
    assert info.grid[0][column] == pytest.approx(0.3, abs=0.05)
    assert info.grid[1][row] == pytest.approx(0.1, rel=0.3)
    assert [p.number for p in info.points] == list(range(60))
    assert sum(p.is_winner for p in info.points) == sum(p.is_default for p in info.points) == 1


def test_noise_is_called_a_guess() -> None:
    info = hill(noise=1.0)
    assert isinstance(info, ContourInfo)
    assert info.explained < 0.1
    text, _ = contour_parts(ContourInfo(**{**info.__dict__, "explained": -0.1}))
    assert "the surface is only a guess" in text.text  # type: ignore[union-attr]


def test_why_there_is_no_surface() -> None:
    def why(*trials: object) -> ContourInfo | str:
        return contour_info(SearchView(history_of(*trials), "miou"))  # type: ignore[arg-type]

    few = why(*(trial({"a": 0.1 * n, "b": 0.2}, [0.1], space=SPACE) for n in range(4)))
    assert few == "Too few trials: this panel needs 10 comparable values and has 4."
    single = why(*(trial({"a": 0.1 * n}, [0.1 * n], space=SPACE) for n in range(10)))
    assert single == "This panel needs two searched numbers, and the space has 1."
    equal = why(*(trial({"a": 0.1 * n, "b": 0.05 * n}, [0.5], space=SPACE) for n in range(10)))
    assert equal == "The trials that used both a and b are too few, or all have the same score."
