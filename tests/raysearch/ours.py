"""The built-in trainer, trained and scored outside a search."""

from collections.abc import Callable
from pathlib import Path

from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, load_trainable
from raysearch.execution import standalone
from trainables.config import Config
from trainables.contrastive_segmentation import ContrastiveSegmentation
from trainables.metrics import ConfusionMatrix
from trainables.scoring import score as score_split

OURS = load_trainable(DEFAULT_TRAINABLE, Path())


def quiet(line: str) -> None:
    """Do nothing."""


def train(config: Config, out: Path, *, metric: str = "miou", say: Callable[[str], None] = quiet) -> float:
    """Train as the command `train` does."""
    return standalone.train(OURS, config, out, metric=metric, say=say)


def score(
    config: Config,
    checkpoint: Path,
    *,
    split: str = "val",
    folder: Path | None = None,
    say: Callable[[str], None] = quiet,
) -> ConfusionMatrix:
    """Return the confusion matrix whose scores the command `evaluate` prints, after the same checks."""
    if folder is not None:
        config = config.model_copy(update={"data": config.data.model_copy(update={"dir": str(folder)})})
    for notice in ContrastiveSegmentation.check_split(config, split):
        say(f"note: {notice}")
    return score_split(config, checkpoint, split, lambda done, total: None)
