"""What a training costs, from its first iterations: seconds of an iteration, seconds of a report."""

import tempfile
import time
from pathlib import Path

from trainables.config import Config
from trainables.data import open_split
from trainables.protocol import TrialCost
from trainables.trainer import Trainer

_LONGEST_S = 5.0
_MOST_ITERS = 20
"""Seconds after which no further iteration is begun, and iterations that are timed at most."""


def measure_cost(config: Config) -> TrialCost:
    """Train a config for a few iterations and score one batch of images.

    The contrast is there from the first iteration on and nothing is shared, so that an iteration is what it is for
    most of a training. The first iteration, which sets much up, is not counted.

    Raises:
        InputError: as `Trainer`.
    """
    num_images = config.evaluation.num_images or len(open_split(config.data, "val"))
    num_scored = min(num_images, config.evaluation.batch_size)
    trainer = Trainer(_at_full_cost(config, num_scored))
    trainer.train_to(1)
    began = time.perf_counter()
    while trainer.iteration == 1 or (trainer.iteration <= _MOST_ITERS and time.perf_counter() - began < _LONGEST_S):
        trainer.train_to(trainer.iteration + 1)
    trained = time.perf_counter()
    trainer.evaluate()
    scored = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder))
    saved = time.perf_counter()
    return TrialCost(
        seconds_per_iteration=(trained - began) / (trainer.iteration - 1),
        seconds_per_report=(scored - trained) * num_images / num_scored + saved - scored,
        iterations_per_report=config.train.report_iters,
    )


def _at_full_cost(config: Config, num_scored: int) -> Config:
    train = {"max_iters": max(config.train.max_iters, _MOST_ITERS + 2), "shared_iters": 0, "shared_values": ()}
    return config.model_copy(
        update={
            "contrast": config.contrast.model_copy(update={"warmup_iters": 0}),
            "evaluation": config.evaluation.model_copy(update={"num_images": num_scored}),
            "train": config.train.model_copy(update=train),
        }
    )
