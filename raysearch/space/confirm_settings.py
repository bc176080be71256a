"""Settings of a confirmation, and the conditions under which a search can be confirmed."""

from collections.abc import Container, Mapping
from typing import Any, Literal

from raysearch.config.sections import Count, Section
from raysearch.config.seed_and_threads import seed_of
from raysearch.config.trainable_loading import LoadedTrainable
from trainables.protocol import Evaluates

Split = Literal["val", "test"]


class ConfirmSettings(Section):
    """Retraining of the best trials and the default config with new seeds, once the search has finished."""

    top: Count = 3
    """Number of the best trials to retrain, besides the default config."""
    seeds: Count = 3
    """Number of new seeds for each config; a confidence interval needs at least two."""
    split: Split = "val"
    """Images on which the score is measured. With `test`, validation images still choose the winner."""


def obstacle(
    trainable: LoadedTrainable, config: Mapping[str, Any], searched: Container[str], metric: str | None, split: Split
) -> tuple[str, str] | None:
    """Return the reason why a search cannot be confirmed and the fix; None if it can.

    Args:
        trainable: The trainable of the search, whose config must have a seed that a confirmation can set.
        config: The nested base config.
        searched: The searched paths. The seed must not be among them.
        metric: The objective, if it is known.
        split: The split on which the score is measured.
    """
    seed = seed_of(trainable.config_model, config)
    if seed is None:
        what = f"the config of {trainable.name} has no with_seed, so its seed cannot be set"
        return what, "declare with_seed (see the guide on your own trainer), or train the best config with other seeds"
    if seed.path in searched:
        return f"{seed.path} is searched, but confirm has to set it", f"search with a fixed {seed.path}"
    if split == "val" or metric is None:
        return None
    target: Any = trainable.target
    if not isinstance(target, Evaluates):
        return (
            f"{trainable.name} has no evaluate, so it cannot be scored on {split}",
            "confirm on val, or declare evaluate",
        )
    if metric not in target.EVALUATED:
        known = " or ".join(sorted(target.EVALUATED))
        return f"{metric} cannot be computed on the {split} images", f"confirm on val, or search by {known}"
    return None
