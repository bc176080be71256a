"""What every network returns."""

from typing import NamedTuple

from torch import Tensor


class SegmentationOutput(NamedTuple):
    """Shapes: B images, K classes, D embedding dimensions; every map has a resolution of its own."""

    logits: Tensor
    """(B, K, h, w) float, unnormalised class scores."""
    aux_logits: Tensor | None
    """(B, K, h', w') float of an auxiliary head, where the network has one."""
    embeddings: Tensor | None
    """(B, D, h'', w'') float, L2-normalised along D; absent without a projection head."""
