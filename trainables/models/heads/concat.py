"""Concatenation of feature maps of several resolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def concat_maps(maps: Sequence[Tensor]) -> Tensor:
    """Concatenate all maps at the resolution of the finest (bilinear, as in HRNetV2, arXiv 1908.07919, sec. 3.2).

    Returns:
        (B, sum of C_i, h, w) for maps (B, C_i, h_i, w_i), of which the first is the finest: (h_0, w_0) = (h, w).
    """
    size = maps[0].shape[-2:]
    return torch.cat([m if m.shape[-2:] == size else _upsampled(m, size) for m in maps], dim=1)


def _upsampled(features: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)
