"""Segmentation network: backbone, segmentation head and projection head."""

from torch import Tensor, nn

from trainables.config import ModelConfig
from trainables.models.backbone import build_backbone
from trainables.models.heads import build_head
from trainables.models.output import SegmentationOutput
from trainables.models.projection import ProjectionHead


class Segmenter(nn.Module):
    """Semantic segmentation at the stride of the head's features, with pixel embeddings during training."""

    def __init__(self, config: ModelConfig, num_classes: int, proj_dim: int | None) -> None:
        """Build the network, without a projection head if `proj_dim` is None.

        Raises:
            InputError: the backbone cannot be built from the config.
        """
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.backbone = build_backbone(config)
        self.head = build_head(config, self.backbone.channels, self.backbone.strides, num_classes)
        # It comes last so that backbone and head get the same random weights with and without it.
        self.projection = None if proj_dim is None else ProjectionHead(self.head.feature_channels, proj_dim)

    @property
    def padding_multiple(self) -> int:
        """Number of pixels that the sides of the images must be multiples of."""
        return self.backbone.padding_multiple

    def forward(self, images: Tensor, with_embeddings: bool | None = None) -> SegmentationOutput:
        """Return logits, and embeddings on request, for images (B, 3, H, W) float, normalised.

        With `with_embeddings=None`, embeddings are computed in training mode only. Without a projection head there are
        none.
        """
        if with_embeddings is None:
            with_embeddings = self.training
        features, logits, aux_logits = self.head(self.backbone(images))
        embeddings = self.projection(features) if self.projection is not None and with_embeddings else None
        return SegmentationOutput(logits, aux_logits, embeddings)
