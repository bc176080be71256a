"""Networks: a backbone with a segmentation head and, for pixel contrast, a projection head."""

from functools import lru_cache

import torch
from torch import Tensor

from trainables.config import Config, ModelConfig
from trainables.models.dry_run import smallest_normalised_map
from trainables.models.output import SegmentationOutput
from trainables.models.segmenter import Segmenter
from trainables.models.weights import file_version

__all__ = ["SegmentationOutput", "Segmenter", "build_model", "network_of", "smallest_normalised_map", "warm_model"]


def build_model(config: ModelConfig, num_classes: int, proj_dim: int | None, seed: int) -> Segmenter:
    """Build a new network in training mode; its weights depend only on the arguments.

    Backbone and segmentation head start from the same weights for every `proj_dim`. The global random state is left
    unchanged.

    Raises:
        InputError: the backbone cannot be built, or its weights cannot be loaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Segmenter(config, num_classes, proj_dim)


def network_of(config: Config) -> Segmenter:
    """Build the network that a config trains, with random weights, so that a checkpoint can be loaded into it.

    The initial weights that the config names need not exist on this machine.

    Raises:
        InputError: the backbone cannot be built.
    """
    model = config.model.model_copy(update={"weights": None})
    return build_model(model, config.data.num_classes, config.contrast.head_dim, config.train.seed)


def warm_model(config: ModelConfig, num_classes: int, proj_dim: int | None, seed: int) -> Segmenter:
    """Return the same network as `build_model`, bit for bit, but reuse the last one if the arguments are the same.

    This is for processes that train one trial after another: the network of the earlier trial is overwritten. It stays
    on its device and in its memory format.

    Raises:
        InputError: the backbone cannot be built, or its weights cannot be loaded.
    """
    version = file_version(config.weights)
    model, initial_state, requires_grad = _kept_model(config, num_classes, proj_dim, seed, version)
    model.load_state_dict(initial_state)
    for parameter, required in zip(model.parameters(), requires_grad, strict=True):
        parameter.requires_grad_(required)
    model.zero_grad(set_to_none=True)
    return model.train()


@lru_cache(maxsize=1)
def _kept_model(
    config: ModelConfig, num_classes: int, proj_dim: int | None, seed: int, version: tuple[int, int] | None
) -> tuple[Segmenter, dict[str, Tensor], list[bool]]:
    """Return a network, its first state, and which parameters train; the version of the weights is part of the key."""
    model = build_model(config, num_classes, proj_dim, seed)
    initial_state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    return model, initial_state, [parameter.requires_grad for parameter in model.parameters()]
