"""Projection head: from features to the embeddings that the contrast loss compares."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """Pixel embeddings: 1x1 convolution, batch norm, ReLU, 1x1 convolution, L2 norm (arXiv 2101.11939, sec. 3.3)."""

    def __init__(self, in_channels: int, proj_dim: int) -> None:
        """Build a head that maps (B, in_channels, h, w) features to (B, proj_dim, h, w) embeddings of unit length."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, proj_dim, kernel_size=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return embeddings in float32, also under autocast.

        The contrast loss divides their differences by a small temperature.
        """
        return F.normalize(cast(Tensor, self.layers(features)).float(), dim=1)
