"""From feature maps to class scores."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FeatureConcat(nn.Module):
    """All feature maps side by side at the resolution of the finest (bilinear, as HRNetV2 does)."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        """(B, sum of C_i, h, w) of maps (B, C_i, h_i, w_i), the first of which is the finest: (h_0, w_0) = (h, w)."""
        size = maps[0].shape[-2:]
        return torch.cat([m if m.shape[-2:] == size else _upsampled(m, size) for m in maps], dim=1)


class FCNHead(nn.Sequential):
    """Class scores from features: 3x3 convolution, batch norm, ReLU, channel dropout, 1x1 classifier."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout: float) -> None:
        """(B, in_channels, h, w) features become (B, num_classes, h, w) logits; `channels` lie between."""
        super().__init__(
            nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(channels, num_classes, kernel_size=1),
        )


def _upsampled(features: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)
