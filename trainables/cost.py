"""Cost of a training, measured on its first iterations: seconds per iteration and per report."""

import tempfile
import time
from pathlib import Path

from trainables.config import Config
from trainables.data import open_split
from trainables.protocol import TrialCost
from trainables.trainer import Trainer

_LONGEST_S = 5.0
_MOST_ITERS = 20
"""Time after which no further iteration is started, and the maximum number of timed iterations."""


def measure_cost(config: Config) -> TrialCost:
    """Train a config for a few iterations, score one batch of images, and return the measured cost.

    The contrast loss is computed from the first iteration on and no iterations are shared, so that each costs what most
    iterations of a training cost. The first iteration is not counted, because it includes much set-up.

    Raises:
        InputError: as in `Trainer`.
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
