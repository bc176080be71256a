"""Shapes inside a network for images of a given size, found on the meta device, which computes no values."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.models.segmenter import Segmenter


def smallest_normalised_map(network: Segmenter, crop_size: tuple[int, int]) -> int | None:
    """Return the smallest number of values per channel that any batch norm gets from one image.

    It is None if there is no batch norm, or if the network uses an operation that the meta device lacks.

    Args:
        network: On the meta device.
        crop_size: Height and width of the image before it is padded.
    """
    sizes: list[int] = []

    def note_size(norm: nn.Module, inputs: Sequence[Tensor]) -> None:
        sizes.append(inputs[0].numel() // inputs[0].shape[1])

    hooks = [m.register_forward_pre_hook(note_size) for m in network.modules() if isinstance(m, _BatchNorm)]
    multiple = network.padding_multiple
    height, width = (side + -side % multiple for side in crop_size)
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.empty(1, 3, height, width, device="meta"))
    except NotImplementedError:
        return None
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return min(sizes, default=None)
