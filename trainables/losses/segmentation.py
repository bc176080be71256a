"""The segmentation term of a training step: a term over the main logits and a cross entropy over the auxiliary ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import LossConfig
from trainables.losses.cross_entropy import CrossEntropy


class SegmentationLoss(nn.Module):
    """A main term and, with `config.aux_coef`, a weighted cross entropy of an auxiliary head."""

    def __init__(self, config: LossConfig, main: nn.Module, weights: Tensor | None) -> None:
        """The parts, joined.

        Args:
            config: what the parts were built from; `aux_coef` is read here.
            main: maps logits (B, K, H, W) and labels (B, H, W) to a scalar.
            weights: (K,) class weights of the auxiliary cross entropy; None weighs every class alike.
        """
        super().__init__()
        self.config = config
        self.main = main
        self.aux = CrossEntropy(weights)

    def forward(self, logits: Tensor, aux_logits: Tensor | None, labels: Tensor) -> Tensor:
        """The loss, a float32 scalar, also under autocast; not yet multiplied by `config.ce_coef`.

        Args:
            logits: (B, K, h, w) float; upsampled bilinearly to the size of the labels.
            aux_logits: (B, K, h', w') float, upsampled likewise; None without an auxiliary head.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        with torch.autocast(logits.device.type, enabled=False):
            loss: Tensor = self.main(_upsample(logits, labels), labels)
            if aux_logits is not None:
                loss = loss + self.config.aux_coef * self.aux(_upsample(aux_logits, labels), labels)
            return loss


def _upsample(logits: Tensor, labels: Tensor) -> Tensor:
    return F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
