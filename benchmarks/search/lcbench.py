"""LCBench (Zimmer et al., arXiv 2006.13799) by the surrogate of YAHPO Gym: networks on 34 data sets, 52 epochs each."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from benchmarks.search.task import Array, Curve, Task, noise_of, values_at
from raysearch.algorithms.unit_cube import around

DATASETS = [
    "126025",
    "126026",
    "126029",
    "146212",
    "167104",
    "167149",
    "167152",
    "167161",
    "167168",
    "167181",
    "167184",
    "167185",
    "167190",
    "167200",
    "167201",
    "168329",
    "168330",
    "168331",
    "168335",
    "168868",
    "168908",
    "168910",
    "189354",
    "189862",
    "189865",
    "189866",
    "189873",
    "189905",
    "189906",
    "189908",
    "189909",
    "34539",
    "3945",
    "7593",
]

_NUMBERS = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
"""Searched values in the order of the model's inputs, after the epoch."""
_SPACE: Mapping[str, Mapping[str, Any]] = {
    "batch_size": {"type": "int", "low": 16, "high": 512, "log": True},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "momentum": {"type": "float", "low": 0.1, "high": 0.99},
    "weight_decay": {"type": "float", "low": 1e-5, "high": 0.1},
    "num_layers": {"type": "int", "low": 1, "high": 5},
    "max_units": {"type": "int", "low": 64, "high": 1024, "log": True},
    "max_dropout": {"type": "float", "low": 0.0, "high": 1.0},
}
_NUM_EPOCHS = 52
_TIME, _ACCURACY = 0, 1
"""Columns of the model's outputs: seconds since the start, and validation accuracy in per cent."""
_NUM_SEARCHED, _NUM_CENTRES, _NUM_AROUND, _NUM_ROUNDS = 2**12, 8, 128, 3
"""Sizes of the search for the best config: random configs, and rounds of configs around the best of them."""
NOISE = 0.1
"""Standard deviation of the added noise of a training and of that of a report, between the median and the best."""


class LCBench:
    """One data set, with the accuracies as the surrogate gives them or with added noise."""

    def __init__(self, curves: Path, dataset: str, *, noisy: bool) -> None:
        """Open the surrogate in the folder of curves."""
        import onnxruntime

        folder = curves / "lcbench"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._code = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"][dataset]
        self.noisy = noisy
        self.task = Task(f"lcbench-{dataset}{'-noisy' * noisy}", _SPACE, tuple(range(1, _NUM_EPOCHS + 1)))

    def world(self, seed: int) -> "LCBenchWorld":
        """Return the accuracies with the noise of a seed."""
        return LCBenchWorld(self, seed)

    def outputs(self, configs: Sequence[Mapping[str, Any]], epochs: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the model's outputs (configs, epochs, 6)."""
        numbers = np.array([[config[name] for name in _NUMBERS] for config in configs], np.float32)
        inputs = np.concatenate(
            [np.tile(np.array(epochs, np.float32), len(configs))[:, None], np.repeat(numbers, len(epochs), axis=0)],
            axis=1,
        )
        codes = np.full((len(inputs), 1), self._code, np.int32)
        found: npt.NDArray[np.float32] = self._session.run(None, {"x_cont": inputs, "x_cat": codes})[0]
        return found.reshape(len(configs), len(epochs), -1)

    @cached_property
    def best_and_median(self) -> tuple[float, float]:
        """Accuracy of the best config that a long search finds, and of the median random config."""
        spec, rng = self.task.spec(seed=0), np.random.default_rng(0)
        points = qmc.Sobol(len(_NUMBERS), rng=rng).random(_NUM_SEARCHED)
        scores = self._finals([values_at(spec, point) for point in points])
        median = float(np.median(scores))
        for _ in range(_NUM_ROUNDS):
            centres = points[np.argsort(-scores)[:_NUM_CENTRES]]
            near = around(centres, _NUM_AROUND, rng, (0.005, 0.2))
            points = np.concatenate([points, near])
            scores = np.concatenate([scores, self._finals([values_at(spec, point) for point in near])])
        return float(scores.max()), median

    def _finals(self, configs: Sequence[Mapping[str, Any]]) -> Array:
        finals: Array = self.outputs(configs, [_NUM_EPOCHS])[:, 0, _ACCURACY].astype(float) / 100
        return finals


class LCBenchWorld:
    """The accuracies of one data set, with the noise of a seed."""

    def __init__(self, table: LCBench, seed: int) -> None:
        self._table, self._seed = table, seed
        self.best, self.median = table.best_and_median

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """Return all epochs of a config, from one call of the model."""
        epochs = self._table.task.iterations
        outputs = self._table.outputs([values], epochs)[0].astype(float)
        scores = outputs[:, _ACCURACY] / 100
        if self._table.noisy:
            draws = noise_of(values, self._seed, 1 + len(epochs))
            scores = scores + NOISE * (self.best - self.median) * (draws[0] + draws[1:])
        return Curve(tuple(scores.tolist()), max(float(outputs[-1, _TIME]), 1.0) / _NUM_EPOCHS)

    def true_score(self, values: Mapping[str, Any]) -> float:
        """Return the accuracy of a config after the last epoch, without noise."""
        return float(self._table.outputs([values], [_NUM_EPOCHS])[0, 0, _ACCURACY]) / 100
