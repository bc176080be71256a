"""Functions with learning curves and noise: Hartmann 6, Branin, Ackley with choices, and spaces with conditions."""

import math
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
from scipy.stats import qmc

from benchmarks.search.task import Array, Curve, Task, noise_of, values_at
from raysearch.algorithms.unit_cube import around

_ITERATIONS = tuple(range(1, 28))
_NUM_SEARCHED, _NUM_CENTRES, _NUM_AROUND, _NUM_ROUNDS = 2**11, 8, 64, 8
"""Sizes of the search for a world's best config: random points, and rounds of points around the best of them."""
NOISE = 0.03
"""Standard deviation of the noise of a training, which shifts its whole curve, and of that of a report.

The unit is the difference between the best score and the median of random configs.
"""
_RATES = 1.5, 8.0
"""Rates of the slowest and the fastest learning curve, per full budget."""

Function = Callable[[Mapping[str, Any], int], float]
"""Function from values and the seed of a world to a true score at the full budget."""


class Synthetic:
    """A table of a function; `pace` names the parameter that sets how fast a training learns."""

    def __init__(self, name: str, space: Mapping[str, Mapping[str, Any]], function: Function, pace: str) -> None:
        self.task = Task(name, space, _ITERATIONS)
        self.function = function
        self.pace = pace

    def world(self, seed: int) -> "SyntheticWorld":
        """Return the function and the noise of a seed."""
        return SyntheticWorld(self, seed)


class SyntheticWorld:
    """The function and the noise of a seed.

    A score rises from that of an untrained model, the first quartile of random configs, to the true one as
    1 - exp(-rate * t). Slow learners are still behind when fast ones with worse true scores have finished.
    """

    def __init__(self, table: Synthetic, seed: int) -> None:
        self._table, self._seed = table, seed
        self._pace = next(p for p in table.task.spec(seed=0).parameters if p.path == table.pace)

    @property
    def best(self) -> float:
        """Largest true score that a long search finds."""
        return self._best_median_untrained[0]

    @property
    def median(self) -> float:
        """Median true score of random configs."""
        return self._best_median_untrained[1]

    def true_score(self, values: Mapping[str, Any]) -> float:
        """Return the value of the function."""
        return self._table.function(values, self._seed)

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """Return the learning curve of a config."""
        best, median, untrained = self._best_median_untrained
        words = self._table.task.space[self._table.pace]
        low, high, value = words["low"], words["high"], values[self._table.pace]
        share = math.log(value / low) / math.log(high / low) if words.get("log") else (value - low) / (high - low)
        rate = _RATES[0] * (_RATES[1] / _RATES[0]) ** share
        progress = np.expm1(-rate * np.array(_ITERATIONS) / _ITERATIONS[-1]) / math.expm1(-rate)
        draws = noise_of(values, self._seed, 1 + len(_ITERATIONS))
        noise = NOISE * (best - median) * (draws[0] + draws[1:])
        scores: Array = untrained + (self.true_score(values) - untrained) * progress + noise
        return Curve(tuple(scores.tolist()), math.exp(share - 0.5))

    @cached_property
    def _best_median_untrained(self) -> tuple[float, float, float]:
        spec, rng = self._table.task.spec(seed=0), np.random.default_rng(0)

        def score(points: Array) -> Array:
            return np.array([self.true_score(values_at(spec, point)) for point in points])

        points = qmc.Sobol(len(spec.parameters), rng=rng).random(_NUM_SEARCHED)
        scores = score(points)
        untrained, median = (float(quantile) for quantile in np.quantile(scores, [0.25, 0.5]))
        for _ in range(_NUM_ROUNDS):
            near = around(points[np.argsort(-scores)[:_NUM_CENTRES]], _NUM_AROUND, rng, (0.002, 0.2))
            points, scores = np.concatenate([points, near]), np.concatenate([scores, score(near)])
        return float(scores.max()), median, untrained


def _unit() -> dict[str, Any]:
    return {"type": "float", "low": 0.0, "high": 1.0}


# Hartmann 6: https://www.sfu.ca/~ssurjano/hart6.html

_HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann(values: Mapping[str, Any], seed: int) -> float:
    x = np.array([values[f"x{i}"] for i in range(6)])
    return float(_HARTMANN_ALPHA @ np.exp(-(_HARTMANN_A * (x - _HARTMANN_P) ** 2).sum(axis=1)))


def _branin(values: Mapping[str, Any], seed: int) -> float:
    """Return the negative logarithm of Branin's function."""
    x, y = values["x"], values["y"]
    square = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return -math.log(square + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_ACKLEY_OFFSETS = {"a": 0.0, "b": 0.4, "c": -0.7, "d": 1.0}
_ACKLEY_FACTORS = {"tanh": 1.0, "relu": 0.8, "gelu": 1.3}


def _ackley(values: Mapping[str, Any], seed: int) -> float:
    """Return the negative of Ackley's function in four dimensions; one choice moves its optimum, one stretches it."""
    centre, factor = _ACKLEY_OFFSETS[values["kind"]], _ACKLEY_FACTORS[values["activation"]]
    z = factor * (np.array([values[f"x{i}"] for i in range(4)]) - centre)
    value = (
        20
        + math.e
        - 20 * math.exp(-0.2 * math.sqrt(float((z**2).mean())))
        - math.exp(float(np.cos(2 * np.pi * z).mean()))
    )
    return -value - 2.0 * abs(centre) - 3.0 * abs(factor - 1.0)


def _conditional(num_layers: int) -> tuple[dict[str, dict[str, Any]], Function]:
    """Return a space of `num_layers` + 9 parameters, and a function whose optimum lies elsewhere in every world."""
    space: dict[str, dict[str, Any]] = {
        "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
        "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]},
        "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": "sgd"}},
        "nesterov": {"type": "categorical", "choices": [True, False], "when": {"optimizer": "sgd"}},
        "beta2": {"type": "float", "low": 0.9, "high": 0.999, "when": {"optimizer": "adam"}},
        "regulariser": {"type": "categorical", "choices": ["none", "dropout", "decay"]},
        "dropout": {"type": "float", "low": 0.0, "high": 0.8, "when": {"regulariser": "dropout"}},
        "decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True, "when": {"regulariser": "decay"}},
        "layers": {"type": "int", "low": 1, "high": num_layers},
    }
    for layer in range(num_layers):
        deep_enough = {"when": {"layers": list(range(layer + 1, num_layers + 1))}} if layer else {}
        space[f"width{layer}"] = {"type": "int", "low": 8, "high": 512, "log": True, **deep_enough}

    @cache
    def ideal(seed: int) -> list[float]:
        drawn: list[float] = np.random.default_rng([seed, num_layers]).uniform(0.15, 0.85, len(space)).tolist()
        return drawn

    def function(values: Mapping[str, Any], seed: int) -> float:
        weights = {"lr": 4.0, "layers": 1.5}
        score = 0.0
        for (path, words), u in zip(space.items(), ideal(seed), strict=True):
            if path not in values:
                continue
            if words["type"] == "categorical":
                place = words["choices"].index(values[path]) / (len(words["choices"]) - 1)
                score -= 0.3 * abs(place - round(u * (len(words["choices"]) - 1)) / (len(words["choices"]) - 1))
                continue
            low, high, value = (float(number) for number in (words["low"], words["high"], values[path]))
            if words.get("log"):
                low, high, value = math.log(low), math.log(high), math.log(value)
            score -= weights.get(path, 1.0) * ((value - low) / (high - low) - u) ** 2
        return score

    return space, function


def synthetic(name: str) -> Synthetic:
    """Return a table by its name."""
    match name:
        case "hartmann6":
            return Synthetic(name, {f"x{i}": _unit() for i in range(6)}, _hartmann, pace="x0")
        case "branin":
            space = {
                "x": {"type": "float", "low": -5.0, "high": 10.0},
                "y": {"type": "float", "low": 0.0, "high": 15.0},
            }
            return Synthetic(name, space, _branin, pace="x")
        case "ackley":
            numbers = {f"x{i}": {"type": "float", "low": -2.0, "high": 2.0} for i in range(4)}
            choices = {"kind": list(_ACKLEY_OFFSETS), "activation": list(_ACKLEY_FACTORS)}
            space = numbers | {path: {"type": "categorical", "choices": found} for path, found in choices.items()}
            return Synthetic(name, space, _ackley, pace="x0")
    space, function = _conditional(int(name.removeprefix("conditional-")) - 9)
    return Synthetic(name, space, function, pace="lr")
