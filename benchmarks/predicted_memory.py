"""Trials lost to memory with and without prediction: python -m benchmarks.predicted_memory [--algorithms tpe gp ...].

The search is over network, batch size, anchors and learning rate on a GPU of 24 GB. No network is trained. The memory
of a trial follows a formula with measured bytes per pixel (`--measure` repeats the measurement) and a deviation of up
to 5 % that is drawn from the config. Its value rises with the batch size and differs between networks, so the best
configs are at the limit of memory. The search sees the peaks of trials that fit, the excess of the others, and the
estimate of `trainables.config.Config`, which does not know these numbers.
"""

import argparse
import math
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import torch

from benchmarks import record
from benchmarks.record import Figure
from raysearch.history.events import Ended, Report
from raysearch.history.journal import Journal
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from trainables.config import Config, ModelConfig
from trainables.models import build_model

NUM_TRIALS = 60
LIMIT_GIB = 24.0
ALGORITHMS = ("tpe", "gp", "cmaes", "qmc", "random")

CROP = (512, 1024)
BYTES_PER_PIXEL = {"hrnet_w18_small": 770, "resnet18": 1230, "hrnet_w48": 4780}
FIXED_GIB = {"hrnet_w18_small": 0.9, "resnet18": 1.1, "hrnet_w48": 2.3}
"""Memory that does not depend on the batch: weights, gradients, momentum, scoring, CUDA itself; assumed values."""
BONUS = {"hrnet_w18_small": 0.0, "resnet18": 0.01, "hrnet_w48": 0.08}
BEST_LR = 0.02


class Formula:
    """A stand-in for the trainable that a space file must name, with the trainer's own config."""

    Config = Config


def spec_of(algorithm: str, seed: int) -> SearchSpec:
    document = {
        "name": "memory",
        "trainable": f"{__spec__.name if __spec__ else __name__}:Formula",
        "config": {
            "data": {"augmentation": {"crop_size": CROP}},
            "model": {"backbone": "hrnet_w18_small"},
            "train": {"batch_size": 4},
        },
        "space": {
            "model.backbone": {"type": "categorical", "choices": list(BYTES_PER_PIXEL)},
            "train.batch_size": {"type": "int", "low": 4, "high": 64, "log": True},
            "contrast.max_samples": {"type": "int", "low": 256, "high": 16384, "log": True},
            "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
        },
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"algorithm": algorithm, "trials": NUM_TRIALS, "seed": seed},
        "scheduler": {"name": "none"},
        "resources": {"memory_gb": LIMIT_GIB},
    }
    return parse_space(document, Path.cwd(), "memory.yaml")


def memory_gib(config: Mapping[str, Any]) -> float:
    network, train, pixels = config["model"]["backbone"], config["train"], CROP[0] * CROP[1]
    activations = train["batch_size"] * pixels * BYTES_PER_PIXEL[network]
    outputs = 3 * 4 * train["batch_size"] * pixels // 16 * (4 + 64)
    anchors = 6 * 4 * config["contrast"]["max_samples"] * 64
    drawn = zlib.crc32(repr((network, train["batch_size"], config["optim"]["lr"])).encode()) / 2**32
    gib: float = FIXED_GIB[network] + (activations + outputs + anchors) / 2**30
    return gib * (0.95 + 0.1 * drawn)


def value(config: Mapping[str, Any]) -> float:
    off = math.log10(config["optim"]["lr"] / BEST_LR)
    return _at_best_lr(config["model"]["backbone"], config["train"]["batch_size"]) - 0.02 * off**2


def _at_best_lr(network: str, images: int) -> float:
    return 0.5 + BONUS[network] + 0.02 * math.log2(images)


def best_value() -> float:
    """Return the best possible value, with the average deviation of memory."""
    room = {net: (LIMIT_GIB - FIXED_GIB[net]) * 2**30 / (CROP[0] * CROP[1]) for net in BYTES_PER_PIXEL}
    return max(_at_best_lr(net, min(64, int(room[net] / (BYTES_PER_PIXEL[net] + 51)))) for net in BYTES_PER_PIXEL)


class Outcome(NamedTuple):
    lost: tuple[int, ...]
    """Numbers of the trials that ran out of memory."""
    best: float
    """Best value found, relative to the optimum."""
    num_trials: int


def search(algorithm: str, seed: int) -> Outcome:
    lost: list[int] = []
    values: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal") as journal:
        search = Search(spec_of(algorithm, seed), journal)
        while (proposal := search.propose()) is not None:
            number, needed = proposal.number, memory_gib(proposal.config)
            if needed > LIMIT_GIB:
                lost.append(number)
                least = min(needed, 1.1 * LIMIT_GIB)  # an allocation fails before everything was requested
                needed_bytes, excess = int(least * 2**30), least / LIMIT_GIB - 1
                ended = Ended("infeasible", "out of memory", needed_memory_bytes=needed_bytes, excess=excess)
                search.take(number, ended)
                continue
            values.append(value(proposal.config))
            search.take(
                number,
                Report(
                    iteration=1,
                    value=values[-1],
                    metrics={},
                    checkpoint=None,
                    seconds=0.0,
                    done=True,
                    peak_memory_bytes=int(needed * 2**30),
                    memory_limit_bytes=int(LIMIT_GIB * 2**30),
                ),
            )
        num_trials = len(search.history.trials)
    return Outcome(tuple(lost), max(values) / best_value(), num_trials)


def search_without(algorithm: str, seed: int) -> Outcome:
    with mock.patch("raysearch.algorithms.PredictedMemory.fits", return_value=True):
        return search(algorithm, seed)


SIDES = {"without prediction": search_without, "with prediction": search}


def measure() -> dict[str, Figure]:
    """Print the bytes that a forward pass saves for the backward pass, per pixel of an image."""
    figures: dict[str, Figure] = {}
    for network in BYTES_PER_PIXEL:
        for height, width in ((96, 96), (128, 192)):
            saved: dict[int, int] = {}

            def pack(tensor: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
                if not isinstance(tensor, torch.nn.Parameter):
                    saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            model = build_model(ModelConfig(backbone=network), 4, 64, 0).train()
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                model(torch.zeros(2, 3, height, width), with_embeddings=True)
            per_pixel = sum(saved.values()) / (2 * height * width)
            print(f"{network} at {height}x{width}: {per_pixel:.0f} bytes a pixel")
            figures[f"{network} at {height}x{width}"] = Figure(per_pixel, "bytes a pixel", "lower")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=["tpe"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help="measure the bytes per pixel of the networks instead")
    record.add_option(parser)
    arguments = parser.parse_args()
    if arguments.measure:
        record.write("predicted_memory --measure", arguments, measure())
        return
    figures: dict[str, Figure] = {}
    print(f"{NUM_TRIALS} trials, seeds 0 to {arguments.seeds - 1}; median (lowest to highest)\n")
    print("| algorithm | side | lost | of them after trial 15 | best found, of the optimum |")
    print("|---|---|---|---|---|")
    for algorithm in arguments.algorithms:
        for side, run in SIDES.items():
            outcomes = [run(algorithm, seed) for seed in range(arguments.seeds)]
            assert all(outcome.num_trials == NUM_TRIALS for outcome in outcomes)
            lost = [len(outcome.lost) for outcome in outcomes]
            late = [sum(number > 15 for number in outcome.lost) for outcome in outcomes]
            best = [outcome.best for outcome in outcomes]
            spread = f"{median(best):.1%} ({min(best):.1%} to {max(best):.1%})"
            print(f"| {algorithm} | {side} | {_spread(lost)} | {_spread(late)} | {spread} |", flush=True)
            figures[f"{algorithm}, {side}: lost"] = Figure.of(lost, "trials", "lower")
            figures[f"{algorithm}, {side}: lost after trial 15"] = Figure.of(late, "trials", "lower")
            figures[f"{algorithm}, {side}: best found"] = Figure.of(
                [100 * b for b in best], "% of the optimum", "higher"
            )
    record.write("predicted_memory", arguments, figures)


def _spread(counts: list[int]) -> str:
    return f"{int(median(counts))} ({min(counts)} to {max(counts)})"


if __name__ == "__main__":
    main()
