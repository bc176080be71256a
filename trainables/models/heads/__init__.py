"""Segmentation heads: from the backbone's feature maps to class scores."""

from collections.abc import Sequence

from trainables.config import ModelConfig
from trainables.models.heads.deeplab import DeepLabV3Head
from trainables.models.heads.fcn import FCNHead
from trainables.models.heads.ocr import OCRHead
from trainables.models.heads.output import HeadOutput

__all__ = ["DeepLabV3Head", "FCNHead", "HeadOutput", "OCRHead", "build_head"]


def build_head(
    config: ModelConfig, channels: Sequence[int], strides: Sequence[int], num_classes: int
) -> FCNHead | OCRHead | DeepLabV3Head:
    """Build the head that a config names, for maps of `channels` at `strides`.

    Every head maps such maps to a `HeadOutput`, and its `feature_channels` is the number of channels of its features.
    """
    match config.head:
        case "fcn":
            return FCNHead(channels, config.head_channels, num_classes, config.dropout)
        case "ocr":
            return OCRHead(channels, config.head_channels, num_classes, config.dropout)
        case "deeplab_v3":
            return DeepLabV3Head(channels, config.head_channels, num_classes, config.dropout, output_stride=strides[-1])
