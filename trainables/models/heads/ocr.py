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
    """Class scores of pixels that are enriched with a description of the regions of all classes.

    A first, auxiliary classifier gives a soft region to each class. The weighted mean of the pixels there represents
    the class (sec. 3.2, eq. 2). Every pixel attends to these representations (eq. 3 and 4) and is classified together
    with the result.
    """

    def __init__(self, in_channels: Sequence[int], channels: int | None, num_classes: int, dropout: float) -> None:
        """Build a head that maps maps of `in_channels`, the finest first, to logits of `num_classes`.

        `channels` is the number of channels of pixels and regions, by default 512; keys and queries have half as many.
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
        """Return the head's output; its features are the concatenated maps.

        The regions come from its auxiliary logits.
        """
        features = concat_maps(maps)
        aux_logits = self.aux(features)
        pixels = self.pixels(features)
        context = self.context(pixels, region_means(pixels, aux_logits))
        logits = self.classifier(self.fuse(torch.cat([context, pixels], dim=1)))
        return HeadOutput(features, logits, aux_logits)


class RegionAttention(nn.Module):
    """Attention from pixels to regions: pixels are the queries, regions are the keys and values."""

    def __init__(self, channels: int, key_channels: int) -> None:
        """Build attention between pixels and regions of `channels`; queries, keys and values have `key_channels`."""
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
        """Return the context (B, C, h, w) of pixels (B, C, h, w) among regions (B, C, K)."""
        regions = regions[..., None]
        context = attend(self.query(pixels).flatten(2), self.key(regions).flatten(2), self.value(regions).flatten(2))
        out: Tensor = self.out(context.reshape(*context.shape[:2], *pixels.shape[-2:]))
        return out


def region_means(pixels: Tensor, logits: Tensor) -> Tensor:
    """Return the weighted mean pixel of each class, (B, C, K), for pixels (B, C, h, w) and logits (B, K, h, w).

    The weights of a class are the softmax of its logits over the pixels of the image.
    """
    weights = logits.flatten(2).softmax(dim=2)
    return pixels.flatten(2) @ weights.transpose(1, 2)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return scaled dot-product attention: (B, D, N) for queries (B, D, N), keys and values (B, D, K)."""
    similarities = queries.transpose(1, 2) @ keys / math.sqrt(keys.shape[1])
    attention = similarities.softmax(dim=2)
    return values @ attention.transpose(1, 2)
