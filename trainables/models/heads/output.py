"""Output of every segmentation head."""

from typing import NamedTuple

from torch import Tensor


class HeadOutput(NamedTuple):
    """Output of a head for B images, K classes and C channels, at the head's own resolution h x w."""

    features: Tensor
    """(B, C, h, w) float, the features that the head reads; the projection head reads them too."""
    logits: Tensor
    """(B, K, h, w) float, unnormalised class scores."""
    aux_logits: Tensor | None
    """(B, K, h', w') float, class scores of the auxiliary head; None if there is none."""
