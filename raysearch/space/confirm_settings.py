"""What a confirmation may be asked for, and what would keep it from being done."""

from typing import Any, Literal

from raysearch.config.sections import Count, Section
from trainables.config import Config

Split = Literal["val", "test"]

TEST_METRICS = ("miou", "pixel_accuracy")
"""Metrics that can be had of the test images: those of a confusion matrix."""


class ConfirmSettings(Section):
    """The best trials and the default config are trained again with new seeds once the search has finished."""

    top: Count = 3
    """How many of the best trials, not counting the default."""
    seeds: Count = 3
    """How many new seeds for each; an interval takes two or more."""
    split: Split = "val"
    """The images of the confirmed figure. With `test` the validation images still choose among the confirmed."""


def obstacle(config_model: Any, is_seed_searched: bool, metric: str | None, split: Split) -> tuple[str, str] | None:
    """What keeps a search from being confirmed, and the fix; None where nothing does.

    There is one config whose seed is known, and that seed must be free to choose.
    """
    if config_model is not Config:
        what = "the trainable has a config of its own, which `train` cannot train and confirm cannot seed"
        return what, "train the best config with seeds of your own"
    if is_seed_searched:
        return "train.seed is searched, and is what confirm sets", "search with a fixed train.seed"
    if split == "test" and metric is not None and metric not in TEST_METRICS:
        return f"{metric} cannot be had of the test images", f"confirm on val, or search by {' or '.join(TEST_METRICS)}"
    return None
