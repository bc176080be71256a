"""A second trainable: softmax regression on scikit-learn's digits; a search knows only what it declares."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from ray import tune
from sklearn.datasets import load_digits

from trainables.errors import Fault, InputError
from trainables.protocol import (
    DataDescription,
    PredictedPicture,
    PredictedRow,
    PredictionPanel,
    Progress,
    TextTable,
    Trained,
    TrialCost,
)

NAMES = tuple("0123456789")
SIZES = {"train": 400, "val": 200, "test": 200}
FILE = "model.npz"


class DigitsConfig(BaseModel):
    """The config of one training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(default=0.02, gt=0.0)
    penalty: Literal["none", "l1", "l2"] = "none"
    alpha: float = Field(default=1e-3, ge=0.0)
    batch_size: int = Field(default=32, ge=1)
    seed: int = 0
    iterations: int = Field(default=40, ge=1)
    report_every: int = Field(default=10, ge=1)

    def max_iters(self) -> int:
        return self.iterations

    def report_iters(self) -> int:
        return self.report_every

    def with_seed(self, seed: int) -> "DigitsConfig":
        return self.model_copy(update={"seed": seed})

    def unused(self) -> dict[str, str]:
        return {"alpha": "penalty is none"} if self.penalty == "none" else {}

    def metric_entries(self) -> dict[str, tuple[str, ...]]:
        return {"recall": NAMES}


class Digits(tune.Trainable):
    """Softmax regression by gradient descent; the batch of an iteration is drawn from the seed and its number."""

    Config = DigitsConfig
    METRICS = frozenset({"accuracy", "loss", "recall"})
    EVALUATED = frozenset({"accuracy", "loss"})

    @classmethod
    def preflight(cls, config: DigitsConfig) -> list[str]:
        if config.batch_size > SIZES["train"]:
            what = f"{config.batch_size} is more than the {SIZES['train']} training digits"
            raise InputError([Fault("batch_size", what, f"write at most {SIZES['train']}")])
        return ["the digits are those of scikit-learn"]

    @classmethod
    def describe_data(cls, config: DigitsConfig) -> DataDescription:
        counts = [np.bincount(examples(split)[1], minlength=10) for split in ("train", "val")]
        rows = tuple((name, *(str(count[k]) for count in counts)) for k, name in enumerate(NAMES))
        table = TextTable(("digit", "train", "val"), rows, num_text_columns=1)
        return DataDescription("digits", f"{SIZES['train']} train, {SIZES['val']} val", (table,))

    @classmethod
    def measure_cost(cls, config: DigitsConfig) -> TrialCost:
        running = cls(config=config.model_dump())
        start = time.perf_counter()
        running.step()
        seconds = (time.perf_counter() - start) / config.report_every
        return TrialCost(seconds, 0.0, config.report_every)

    @classmethod
    def check_split(cls, config: DigitsConfig, split: str) -> list[str]:
        return [f"{split}: {len(examples(split)[1])} digits"]

    @classmethod
    def evaluate(cls, config: DigitsConfig, checkpoint: Path, split: str, progress: Progress) -> Mapping[str, Any]:
        weights, (images, labels) = read_weights(checkpoint), examples(split)
        progress(len(labels), len(labels))
        return scores(weights, images, labels)

    @classmethod
    def predict_pictures(cls, winner: Trained, default: Trained | None, folder: Path) -> PredictionPanel:
        images, labels = examples("val")
        predicted = probabilities(read_weights(winner.checkpoint), images).argmax(axis=1)
        wrong = np.flatnonzero(predicted != labels)
        rows = []
        for i in wrong[:3]:
            pixels = (images[i, :64].reshape(8, 8) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            caption = f"predicted {predicted[i]}, is {labels[i]}"
            rows.append(PredictedRow(f"digit {i}", (PredictedPicture(f"{i}.png", caption, is_sharp=True),)))
        text = f"Trial {winner.trial} mistakes {len(wrong)} of {len(labels)} digits."
        return PredictionPanel(text, tuple(rows), scores={"digit": labels.tolist(), "predicted": predicted.tolist()})

    def setup(self, config: dict[str, Any]) -> None:
        self.settings = DigitsConfig.model_validate(config)
        self.weights = np.zeros((65, 10))
        self.num_iters = 0
        self.tell: Callable[[int], None] = lambda iteration: None

    def tell_iterations(self, tell: Callable[[int], None]) -> None:
        self.tell = tell

    def step(self) -> dict[str, Any]:
        images, labels = examples("train")
        for _ in range(min(self.settings.report_every, self.settings.iterations - self.num_iters)):
            rng = np.random.default_rng([self.settings.seed, self.num_iters])
            batch = rng.choice(len(labels), self.settings.batch_size, replace=False)
            error = probabilities(self.weights, images[batch]) - np.eye(10)[labels[batch]]
            gradient = images[batch].T @ error / len(batch) + self._penalty()
            self.weights = self.weights - self.settings.lr * gradient
            self.num_iters += 1
            self.tell(self.num_iters)
        done = self.num_iters == self.settings.iterations
        return {**scores(self.weights, *examples("val")), "iteration": self.num_iters, "done": done}

    def _penalty(self) -> Any:
        match self.settings.penalty:
            case "l1":
                return self.settings.alpha * np.sign(self.weights)
            case "l2":
                return 2 * self.settings.alpha * self.weights
        return 0.0

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        np.savez(Path(checkpoint_dir, FILE), weights=self.weights, num_iters=self.num_iters)

    def load_checkpoint(self, checkpoint: Any) -> None:
        with np.load(Path(checkpoint, FILE)) as saved:
            self.weights, self.num_iters = saved["weights"], int(saved["num_iters"])


def examples(split: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the images of a split, (N, 65) in [0, 1] with a column of ones, and their labels, (N,)."""
    digits = load_digits()
    start = sum(size for name, size in SIZES.items() if name < split)  # test, train, val: any order will do
    places = np.random.default_rng(0).permutation(len(digits.target))[start : start + SIZES[split]]
    images = digits.data[places] / 16.0
    return np.hstack([images, np.ones((len(images), 1))]), digits.target[places]


def probabilities(weights: NDArray[np.float64], images: NDArray[np.float64]) -> NDArray[np.float64]:
    logits = images @ weights
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def scores(weights: NDArray[np.float64], images: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    found = probabilities(weights, images)
    right = found.argmax(axis=1) == labels
    return {
        "accuracy": float(right.mean()),
        "loss": float(-np.log(found[np.arange(len(labels)), labels] + 1e-12).mean()),
        "recall": [float(right[labels == k].mean()) for k in range(10)],
    }


def read_weights(checkpoint: Path) -> NDArray[np.float64]:
    file = checkpoint / FILE
    if not file.is_file():
        raise InputError([Fault(str(checkpoint), f"holds no {FILE}", "give the folder of a checkpoint")])
    with np.load(file) as saved:
        weights: NDArray[np.float64] = saved["weights"]
        return weights
