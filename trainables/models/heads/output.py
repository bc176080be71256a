"""What every segmentation head returns."""

from typing import NamedTuple

from torch import Tensor


class HeadOutput(NamedTuple):
    """Shapes: B images, K classes, C channels, h x w the head's own resolution."""

    features: Tensor
    """(B, C, h, w) float, what the head reads; the projection head reads it too."""
    logits: Tensor
    """(B, K, h, w) float, unnormalised class scores."""
    aux_logits: Tensor | None
    """(B, K, h', w') float of the auxiliary head, where there is one."""
