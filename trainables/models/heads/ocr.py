"""Object-contextual representations (Yuan et al., ECCV 2020, arXiv 1909.11065)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from trainables.models.heads.concat import concat_maps
from trainables.models.heads.output import HeadOutput

PUBLISHED_CHANNELS = 512


class OCRHead(nn.Module):
    """Class scores from pixels that are told what the regions of all classes look like.

    A first, auxiliary classifier says softly where every class is; the mean of the pixels there represents the class
    (sec. 3.2, eq. 2); every pixel attends to these representations (eq. 3 and 4) and is classified with what it finds.
    """

    def __init__(self, in_channels: Sequence[int], channels: int | None, num_classes: int, dropout: float) -> None:
        """Maps of `in_channels`, the finest first, become logits of `num_classes`.

        `channels` are those of pixels and regions, by default 512; keys and queries have half as many.
        """
        super().__init__()
        channels = channels or PUBLISHED_CHANNELS
        self.feature_channels = sum(in_channels)
        self.aux = nn.Sequential(
            Conv2dNormActivation(self.feature_channels, self.feature_channels, kernel_size=1),
            nn.Conv2d(self.feature_channels, num_classes, kernel_size=1),
        )
        self.pixels = Conv2dNormActivation(self.feature_channels, channels, kernel_size=3)
        self.context = RegionAttention(channels, key_channels=max(1, channels // 2))
        self.fuse = nn.Sequential(Conv2dNormActivation(2 * channels, channels, kernel_size=1), nn.Dropout2d(dropout))
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> HeadOutput:
        """The features are the concatenated maps; the auxiliary logits are those that the regions come from."""
        features = concat_maps(maps)
        aux_logits = self.aux(features)
        pixels = self.pixels(features)
        context = self.context(pixels, region_means(pixels, aux_logits))
        logits = self.classifier(self.fuse(torch.cat([context, pixels], dim=1)))
        return HeadOutput(features, logits, aux_logits)


class RegionAttention(nn.Module):
    """What every pixel finds among the regions: attention with pixels as queries and regions as keys and values."""

    def __init__(self, channels: int, key_channels: int) -> None:
        """Pixels and regions have `channels`; queries, keys and values have `key_channels`."""
        super().__init__()
        self.query = nn.Sequential(
            Conv2dNormActivation(channels, key_channels, kernel_size=1),
            Conv2dNormActivation(key_channels, key_channels, kernel_size=1),
        )
        self.key = nn.Sequential(
            Conv2dNormActivation(channels, key_channels, kernel_size=1),
            Conv2dNormActivation(key_channels, key_channels, kernel_size=1),
        )
        self.value = Conv2dNormActivation(channels, key_channels, kernel_size=1)
        self.out = Conv2dNormActivation(key_channels, channels, kernel_size=1)

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """(B, C, h, w) context of pixels (B, C, h, w) among regions (B, C, K)."""
        regions = regions[..., None]
        context = attend(self.query(pixels).flatten(2), self.key(regions).flatten(2), self.value(regions).flatten(2))
        out: Tensor = self.out(context.reshape(*context.shape[:2], *pixels.shape[-2:]))
        return out


def region_means(pixels: Tensor, logits: Tensor) -> Tensor:
    """Mean pixel of every class, (B, C, K), of pixels (B, C, h, w) and logits (B, K, h, w).

    The weights of a class are the softmax of its logits over the pixels of the image.
    """
    weights = logits.flatten(2).softmax(dim=2)
    return pixels.flatten(2) @ weights.transpose(1, 2)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention with channels second: (B, D, N) of queries (B, D, N), keys and values (B, D, K)."""
    similarities = queries.transpose(1, 2) @ keys / math.sqrt(keys.shape[1])
    attention = similarities.softmax(dim=2)
    return values @ attention.transpose(1, 2)
