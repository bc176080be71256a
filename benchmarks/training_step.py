"""CPU time of training and scoring against a plain loop: python -m benchmarks.training_step [--data DIR] [--seeds N].

The config is that of search_spaces/camvid.yaml, on one thread. Without `--data DIR`, images of the same size are drawn.
The plain loop is written with PyTorch alone: the same network in channels_last, the same batches and anchors, cross
entropy, the contrast loss over the whole matrix of similarities by autograd, SGD, torch's `AveragedModel`, and for
scoring a forward pass, an upsampling and a count. It runs in float32. Each side has a process of its own, and the sides
take turns.

With `--seeds N`, the sides also train for the first `--iters` iterations with N seeds each, and their scores are
compared.
"""

import argparse
import math
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import record
from benchmarks.record import Figure
from raysearch.config.strict_yaml import read_mapping
from trainables.config import IGNORE_INDEX, Config
from trainables.data import TrainBatches, evaluation_samples, open_split
from trainables.dotted_paths import with_values
from trainables.losses.anchor_sampling import sample_anchors
from trainables.metrics import ConfusionMatrix
from trainables.models import build_model
from trainables.optim import poly_lr
from trainables.trainer import Trainer

SPACE = Path(__file__).parents[1] / "search_spaces" / "camvid.yaml"
SIDES = ("plain loop", "ours, float32", "ours, bf16")
NUM_ROUNDS, STEPS_A_ROUND = 7, 2
NUM_SCORED = 32


def config_of(side: str, data: str | None, seed: int = 0) -> Config:
    """Return the config of one side, with contrast from the first iteration on."""
    values: dict[str, Any] = {
        "train.num_threads": 1,
        "train.device": "cpu",
        "train.seed": seed,
        "train.precision": "bf16" if side.endswith("bf16") else "float32",
        "contrast.warmup_iters": 0,
        "evaluation.num_images": NUM_SCORED,
    }
    if data is None:
        values |= {"data.dir": None, "data.image_scale": 1.0, "data.drawn.size": [180, 240]}
        values |= {"data.label_class_ids": [0, 74, 128, 145], "data.class_names": None}
    else:
        values["data.dir"] = data
    document, _ = read_mapping(SPACE, SPACE.name)
    return Config.model_validate(with_values(document["config"], values))


class PlainLoop:
    """A training loop with PyTorch alone, on the batches and anchors of the trainer."""

    def __init__(self, config: Config) -> None:
        torch.set_num_threads(1)
        self.config, self.iteration = config, 0
        model, train = config.model, config.train
        self.network = build_model(model, config.data.num_classes, config.contrast.head_dim, train.seed)
        self.network.to(memory_format=torch.channels_last)
        average = get_ema_multi_avg_fn(train.ema_decay)
        self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        optim = config.optim
        self.optimizer = torch.optim.SGD(self.network.parameters(), optim.lr, optim.momentum, weight_decay=5e-4)
        self.split = open_split(config.data, "val")
        batches = TrainBatches(
            open_split(config.data, "train"),
            config.data,
            batch_size=train.batch_size,
            seed=train.seed,
            start_iteration=0,
            max_iters=train.max_iters,
        )
        self.batches = iter(batches)

    def train_to(self, end: int) -> None:
        config = self.config
        self.network.train()
        for iteration in range(self.iteration, end):
            factor = poly_lr(iteration, max_iters=config.train.max_iters, power=config.optim.poly_power, warmup_iters=0)
            self.optimizer.param_groups[0]["lr"] = config.optim.lr * factor
            torch.manual_seed(iteration)
            images, labels = next(self.batches)
            output = self.network(images.to(memory_format=torch.channels_last))
            assert output.embeddings is not None
            logits = F.interpolate(output.logits, labels.shape[-2:], mode="bilinear")
            loss = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX)
            loss = loss + config.contrast.loss_weight * self._contrast(output.embeddings, output.logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.average.update_parameters(self.network)
        self.iteration = end

    def _contrast(self, embeddings: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        size = embeddings.shape[-2:]
        labels = F.interpolate(labels.unsqueeze(1).float(), size).long().flatten(1)
        predictions = logits.argmax(1).flatten(1)
        chosen = sample_anchors(
            self.config.contrast, labels, predictions, torch.Generator().manual_seed(self.iteration)
        )
        anchors = embeddings.movedim(1, -1).flatten(0, 2)[chosen.positions]
        similarities = anchors @ anchors.T / self.config.contrast.temperature
        same = chosen.labels.unsqueeze(1) == chosen.labels
        negatives = similarities.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
        positives = same & ~torch.eye(len(same), dtype=torch.bool)
        terms = F.softplus(negatives - similarities).where(positives, 0.0).sum(1)
        return (terms / positives.sum(1).clamp(min=1)).sum() / positives.any(1).sum()

    @torch.no_grad()
    def evaluate(self) -> ConfusionMatrix:
        confusion = ConfusionMatrix(self.config.data.num_classes)
        network = self.average.module.eval()
        samples = list(evaluation_samples(self.split, self.config.data, range(NUM_SCORED)))
        multiple = self.network.padding_multiple
        for start in range(0, len(samples), 8):
            batch = samples[start : start + 8]
            images = torch.stack([sample.image for sample in batch]).to(memory_format=torch.channels_last)
            height, width = images.shape[-2:]
            padded = F.pad(images, (0, -width % multiple, 0, -height % multiple))
            logits = F.interpolate(network(padded).logits, padded.shape[-2:], mode="bilinear")[..., :height, :width]
            predicted = F.interpolate(logits, batch[0].size, mode="bilinear").argmax(1)
            confusion.update(predicted, torch.stack([sample.label for sample in batch]))
        return confusion


_loop: PlainLoop | Trainer


def _start(side: str, data: str | None) -> None:
    global _loop
    config = config_of(side, data)
    _loop = PlainLoop(config) if side == "plain loop" else Trainer(config)
    _loop.train_to(2)


def _seconds_of_step() -> float:
    start, first = time.process_time(), _loop.iteration
    _loop.train_to(first + STEPS_A_ROUND)
    return (time.process_time() - start) / STEPS_A_ROUND


def _seconds_of_scoring() -> float:
    start = time.process_time()
    _loop.evaluate()
    return (time.process_time() - start) / NUM_SCORED


def _score(side: str, data: str | None, seed: int, num_iters: int) -> float:
    config = config_of(side, data, seed)
    loop = PlainLoop(config) if side == "plain loop" else Trainer(config)
    loop.train_to(num_iters)
    return float(loop.evaluate().miou())


def measure(data: str | None) -> dict[str, Figure]:
    """Let the sides take turns, and return the median times with their ratios to the plain loop."""
    context = multiprocessing.get_context("spawn")
    processes = {side: ProcessPoolExecutor(1, mp_context=context) for side in SIDES}
    for side, process in processes.items():
        process.submit(_start, side, data).result()
    steps: dict[str, list[float]] = {side: [] for side in SIDES}
    scorings: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(NUM_ROUNDS):
        for side, process in processes.items():
            steps[side].append(process.submit(_seconds_of_step).result())
            if number % 3 == 0:
                scorings[side].append(process.submit(_seconds_of_scoring).result())
    for process in processes.values():
        process.shutdown()
    return figures_of(steps, scorings)


def figures_of(steps: Mapping[str, Sequence[float]], scorings: Mapping[str, Sequence[float]]) -> dict[str, Figure]:
    """Return the median seconds of each side, and how many times those of the plain loop are larger."""
    figures: dict[str, Figure] = {}
    for side in steps:
        figures[f"{side}: step"] = Figure.of([1000 * s for s in steps[side]], "ms", "lower")
        figures[f"{side}: scoring an image"] = Figure.of([1000 * s for s in scorings[side]], "ms", "lower")
    plain = SIDES[0]
    for side in [side for side in steps if side != plain]:
        for what, times in (("step", steps), ("scoring an image", scorings)):
            ratio = statistics.median(times[plain]) / statistics.median(times[side])
            figures[f"plain loop / {side}: {what}"] = Figure(ratio, "", "higher")
    return figures


def compare_scores(data: str | None, num_seeds: int, num_iters: int) -> dict[str, Figure]:
    """Return the mIoU of every side after so many iterations, over the seeds."""
    context = multiprocessing.get_context("spawn")
    figures = {}
    for side in SIDES:
        with ProcessPoolExecutor(1, mp_context=context) as process:
            scores = [process.submit(_score, side, data, seed, num_iters).result() for seed in range(num_seeds)]
        figures[f"{side}: mIoU after {num_iters} iterations"] = Figure.of(scores, "", "higher")
        error = statistics.stdev(scores) / math.sqrt(num_seeds) if num_seeds > 1 else math.nan
        print(f"{side}: mIoU {[round(score, 4) for score in scores]}, mean {statistics.mean(scores):.4f} ± {error:.4f}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="folder of CamVid; by default, images are drawn")
    parser.add_argument("--seeds", type=int, default=0, help="number of seeds with which scores are compared")
    parser.add_argument("--iters", type=int, default=120, help="number of iterations before the scores")
    record.add_option(parser)
    arguments = parser.parse_args()
    figures = measure(arguments.data)
    for name, figure in figures.items():
        print(f"{name}: {figure.value:.2f} {figure.unit}", flush=True)
    if arguments.seeds:
        figures |= compare_scores(arguments.data, arguments.seeds, arguments.iters)
    record.write("training_step", arguments, figures)


if __name__ == "__main__":
    main()
