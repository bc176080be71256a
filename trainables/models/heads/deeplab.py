"""DeepLabV3 (Chen et al., 2017, arXiv 1706.05587)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from trainables.models.heads.output import HeadOutput

PUBLISHED_CHANNELS = 512


class DeepLabV3Head(nn.Module):
    """Class scores from the last map of a dilated backbone, with an auxiliary classifier on the map before it."""

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int | None,
        num_classes: int,
        dropout: float,
        *,
        output_stride: int,
    ) -> None:
        """Build a head that maps the last two maps, of `in_channels`, to logits of `num_classes`.

        `channels` is the number of channels of the pyramid, by default 512; the auxiliary classifier has half as many.
        `output_stride` is the stride of the last map.
        """
        super().__init__()
        channels = channels or PUBLISHED_CHANNELS
        aux_channels = max(1, channels // 2)
        *_, aux_in_channels, self.feature_channels = in_channels
        self.aux = nn.Sequential(
            Conv2dNormActivation(aux_in_channels, aux_channels, kernel_size=3),
            nn.Dropout2d(dropout),
            nn.Conv2d(aux_channels, num_classes, kernel_size=1),
        )
        self.pyramid = AtrousPyramid(self.feature_channels, channels, output_stride)
        self.classifier = nn.Sequential(
            Conv2dNormActivation(channels, channels, kernel_size=3),
            nn.Dropout2d(dropout),
            nn.Conv2d(channels, num_classes, kernel_size=1),
        )

    def forward(self, maps: Sequence[Tensor]) -> HeadOutput:
        """Return the head's output; its features are the last map."""
        *_, before, features = maps
        return HeadOutput(features, self.classifier(self.pyramid(features)), self.aux(before))


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (sec. 3.3): five views of a map, from one pixel to the whole image, combined."""

    def __init__(self, in_channels: int, channels: int, output_stride: int) -> None:
        """Build a pyramid that maps (B, in_channels, h, w) to (B, channels, h, w).

        The 3x3 convolutions are dilated by 12, 24 and 36 at output stride 8, and by half of that at output stride 16.
        """
        super().__init__()
        rates = [96 // output_stride * i for i in (1, 2, 3)]
        self.local = nn.ModuleList(
            [Conv2dNormActivation(in_channels, channels, kernel_size=1)]
            + [Conv2dNormActivation(in_channels, channels, kernel_size=3, dilation=rate) for rate in rates]
        )
        # This branch has no norm, unlike in the paper. It holds one value per channel and image: batch statistics of so
        # few values would be noise (with two images, only the order of the two values is left), and they do not exist
        # for a batch of one.
        self.whole_image = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, channels, kernel_size=1), nn.ReLU(inplace=True)
        )
        self.fuse = Conv2dNormActivation(5 * channels, channels, kernel_size=3)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, channels, h, w) for features (B, in_channels, h, w)."""
        views = [branch(features) for branch in self.local]
        whole_image = self.whole_image(features).expand_as(views[0])
        out: Tensor = self.fuse(torch.cat([*views, whole_image], dim=1))
        return out
