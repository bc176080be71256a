"""Networks: a backbone with a segmentation head and, for pixel contrast, a projection head."""

from functools import lru_cache

import torch
from torch import Tensor

from trainables.config import Config, ModelConfig
from trainables.models.dry_run import smallest_normalised_map
from trainables.models.output import SegmentationOutput
from trainables.models.segmenter import Segmenter

__all__ = ["SegmentationOutput", "Segmenter", "build_model", "network_of", "smallest_normalised_map", "warm_model"]


def build_model(config: ModelConfig, num_classes: int, proj_dim: int | None, seed: int) -> Segmenter:
    """A new network in training mode; its weights are a function of the arguments alone.

    Backbone and segmentation head start from the same weights whatever `proj_dim` is. The global random state is
    left as it was.

    Raises:
        InputError: the backbone or its weights cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Segmenter(config, num_classes, proj_dim)


def network_of(config: Config) -> Segmenter:
    """The network that a config trains, with random weights: what its checkpoint is loaded into.

    The weights that the training began with need not be here.

    Raises:
        InputError: the backbone cannot be had.
    """
    model = config.model.model_copy(update={"weights": None})
    return build_model(model, config.data.num_classes, config.contrast.head_dim, config.train.seed)


def warm_model(config: ModelConfig, num_classes: int, proj_dim: int | None, seed: int) -> Segmenter:
    """What `build_model` returns, bit for bit, but the network of the last call where the arguments are the same.

    For processes that train one trial after another: the network of an earlier trial is overwritten. It stays on
    its device and in its memory format.

    Raises:
        InputError: the backbone or its weights cannot be had.
    """
    model, initial_state, requires_grad = _kept_model(config, num_classes, proj_dim, seed)
    model.load_state_dict(initial_state)
    for parameter, required in zip(model.parameters(), requires_grad, strict=True):
        parameter.requires_grad_(required)
    model.zero_grad(set_to_none=True)
    return model.train()


@lru_cache(maxsize=1)
def _kept_model(
    config: ModelConfig, num_classes: int, proj_dim: int | None, seed: int
) -> tuple[Segmenter, dict[str, Tensor], list[bool]]:
    model = build_model(config, num_classes, proj_dim, seed)
    initial_state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    return model, initial_state, [parameter.requires_grad for parameter in model.parameters()]
