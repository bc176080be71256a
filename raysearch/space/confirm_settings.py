"""Settings of a confirmation, and the conditions under which a search can be confirmed."""

from typing import Any, Literal

from raysearch.config.sections import Count, Section
from trainables.config import Config

Split = Literal["val", "test"]

TEST_METRICS = ("miou", "pixel_accuracy")
"""Metrics that can be measured on the test images: those of a confusion matrix."""


class ConfirmSettings(Section):
    """Retraining of the best trials and the default config with new seeds, once the search has finished."""

    top: Count = 3
    """Number of the best trials to retrain, besides the default config."""
    seeds: Count = 3
    """Number of new seeds for each config; a confidence interval needs at least two."""
    split: Split = "val"
    """Images on which the score is measured. With `test`, validation images still choose the winner."""


def obstacle(config_model: Any, is_seed_searched: bool, metric: str | None, split: Split) -> tuple[str, str] | None:
    """Return the reason why a search cannot be confirmed and the fix; None if it can.

    Only the config of the bundled trainable has a known seed, and a search must not vary that seed itself.
    """
    if config_model is not Config:
        what = "the trainable has a config of its own, which `train` cannot train and confirm cannot seed"
        return what, "train the best config with seeds of your own"
    if is_seed_searched:
        return "train.seed is searched, and is what confirm sets", "search with a fixed train.seed"
    if split == "test" and metric is not None and metric not in TEST_METRICS:
        return f"{metric} cannot be had of the test images", f"confirm on val, or search by {' or '.join(TEST_METRICS)}"
    return None
