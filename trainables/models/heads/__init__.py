"""Segmentation heads: from the backbone's feature maps to class scores."""

from collections.abc import Sequence

from trainables.config import ModelConfig
from trainables.models.heads.fcn import FCNHead
from trainables.models.heads.output import HeadOutput

__all__ = ["FCNHead", "HeadOutput", "build_head"]


def build_head(config: ModelConfig, channels: Sequence[int], num_classes: int) -> FCNHead:
    """The head that a config names, for maps of `channels`.

    A head maps (B, channels[i], h_i, w_i) maps to a `HeadOutput` and says in `feature_channels` how wide its features
    are.
    """
    match config.head:
        case "fcn":
            return FCNHead(channels, config.head_channels, num_classes, config.dropout)
        case _:
            raise NotImplementedError(config.head)
