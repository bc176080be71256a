"""Backbone, segmentation head and projection head, joined."""

from torch import Tensor, nn

from trainables.config import ModelConfig
from trainables.models.backbone import build_backbone
from trainables.models.heads import FCNHead, FeatureConcat
from trainables.models.output import SegmentationOutput
from trainables.models.projection import ProjectionHead


class Segmenter(nn.Module):
    """Semantic segmentation at the stride of the backbone's finest map, with pixel embeddings while it is trained."""

    def __init__(self, config: ModelConfig, num_classes: int, proj_dim: int | None) -> None:
        """Without `proj_dim` there is no projection head.

        Raises:
            InputError: the backbone cannot be built from the config.
        """
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.backbone = build_backbone(config)
        channels = sum(self.backbone.channels)
        self.concat = FeatureConcat()
        self.head = FCNHead(channels, config.head_channels or channels, num_classes, config.dropout)
        # Last, so that the random weights of backbone and head are the same without it.
        self.projection = None if proj_dim is None else ProjectionHead(channels, proj_dim)

    @property
    def padding_multiple(self) -> int:
        """Sides of the images must be multiples of this, in pixels."""
        return self.backbone.padding_multiple

    def forward(self, images: Tensor, with_embeddings: bool | None = None) -> SegmentationOutput:
        """Logits, and embeddings where asked for, of images (B, 3, H, W) float, normalised.

        `with_embeddings=None` computes embeddings in training mode only; without a projection head there are none.
        """
        if with_embeddings is None:
            with_embeddings = self.training
        features = self.concat(self.backbone(images))
        logits = self.head(features)
        embeddings = self.projection(features) if self.projection is not None and with_embeddings else None
        return SegmentationOutput(logits, None, embeddings)
