"""The plain head: one convolution over all concatenated feature maps."""

from collections.abc import Sequence

from torch import Tensor, nn

from trainables.models.heads.concat import concat_maps
from trainables.models.heads.output import HeadOutput


class FCNHead(nn.Sequential):
    """Class scores from all maps: 3x3 convolution, batch norm, ReLU, channel dropout, 1x1 classifier."""

    def __init__(self, in_channels: Sequence[int], channels: int | None, num_classes: int, dropout: float) -> None:
        """Build a head that maps maps of `in_channels`, the finest first, to logits of `num_classes`.

        `channels` is the number of channels in between, by default the sum of `in_channels`.
        """
        feature_channels = sum(in_channels)
        channels = channels or feature_channels
        super().__init__(
            nn.Conv2d(feature_channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(channels, num_classes, kernel_size=1),
        )
        self.feature_channels = feature_channels

    def forward(self, maps: Sequence[Tensor]) -> HeadOutput:
        """Return the head's output; its features are the concatenated maps, and it has no auxiliary logits."""
        features = logits = concat_maps(maps)
        for layer in self:
            logits = layer(logits)
        return HeadOutput(features, logits, None)
