"""The moving average of a network's weights."""

import copy

import torch
from torch import Tensor

from trainables.models import Segmenter


class MovingAverage:
    """An exponential moving average of the weights of a network and of the statistics of its norms."""

    def __init__(self, network: Segmenter, decay: float) -> None:
        """Start with a copy of the network; the first update copies the weights, later ones keep `decay` of them."""
        self.network = copy.deepcopy(network)
        """The network with the averaged weights."""
        self.num_updates = 0
        self._decay = decay
        # The tensors are listed once, because walking through the modules takes longer than the average itself.
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        self._floats = _unzipped([pair for pair in pairs if pair[0].is_floating_point()])
        self._counts = _unzipped([pair for pair in pairs if not pair[0].is_floating_point()])

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's current weights."""
        averages, current = self._floats
        if self.num_updates == 0:
            torch._foreach_copy_(averages, current)
        else:
            torch._foreach_lerp_(averages, current, 1 - self._decay)
        torch._foreach_copy_(*self._counts)
        self.num_updates += 1


def _tensors(network: Segmenter) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]


def _unzipped(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [one for one, _ in pairs], [other for _, other in pairs]
