"""Observations of one training iteration: the shape of its batch, and its effects on the network."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.models import Segmenter


@dataclass(frozen=True)
class LastIteration:
    """Observable effects of one iteration on the network, and the shape of its batch."""

    batch_size: int
    crop_size: tuple[int, int]
    num_anchors: int
    contrast_reached_network: bool
    """True if a gradient reached the projection head, which receives one only from the contrast loss."""
    aux_reached_network: bool
    """True if a gradient reached the auxiliary head."""
    froze_norm: bool | None
    """True if the batch norms used their running statistics; None if there are no batch norms."""

    @classmethod
    def seen(cls, network: Segmenter, size: Sequence[int], num_anchors: int) -> "LastIteration":
        """Return what a network in training mode shows after an iteration with images of `size` (B, 3, H, W)."""
        norms = [module.training for module in network.modules() if isinstance(module, _BatchNorm)]
        return cls(
            batch_size=size[0],
            crop_size=(size[2], size[3]),
            num_anchors=num_anchors,
            contrast_reached_network=_has_gradient(network.projection),
            aux_reached_network=_has_gradient(getattr(network.head, "aux", None)),
            froze_norm=not any(norms) if norms else None,
        )


def _has_gradient(part: nn.Module | None) -> bool:
    return part is not None and any(parameter.grad is not None for parameter in part.parameters())
