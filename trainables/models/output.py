"""Output of every network."""

from typing import NamedTuple

from torch import Tensor


class SegmentationOutput(NamedTuple):
    """Output of a network for B images, K classes and D embedding dimensions. Each map has its own resolution."""

    logits: Tensor
    """(B, K, h, w) float, unnormalised class scores."""
    aux_logits: Tensor | None
    """(B, K, h', w') float, class scores of the auxiliary head; None if the network has none."""
    embeddings: Tensor | None
    """(B, D, h'', w'') float, L2-normalised along D; None without a projection head."""
