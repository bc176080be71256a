"""The segmentation loss of a training step: a main loss on the main logits, cross entropy on the auxiliary ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import LossConfig
from trainables.losses.cross_entropy import CrossEntropy


class SegmentationLoss(nn.Module):
    """A main loss, plus a weighted cross entropy of the auxiliary head times `config.aux_coef`."""

    def __init__(self, config: LossConfig, main: nn.Module, weights: Tensor | None) -> None:
        """Combine the two losses.

        Args:
            config: The config that both losses were built from; `aux_coef` is read here.
            main: Maps logits (B, K, H, W) and labels (B, H, W) to a scalar.
            weights: (K,) class weights of the auxiliary cross entropy; None weighs all classes equally.
        """
        super().__init__()
        self.config = config
        self.main = main
        self.aux = CrossEntropy(weights)

    def forward(self, logits: Tensor, aux_logits: Tensor | None, labels: Tensor) -> Tensor:
        """Return the loss, a float32 scalar, also under autocast; it is not yet multiplied by `config.ce_coef`.

        Args:
            logits: (B, K, h, w) float; upsampled bilinearly to the size of the labels.
            aux_logits: (B, K, h', w') float, upsampled in the same way; None without an auxiliary head.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        with torch.autocast(logits.device.type, enabled=False):
            loss: Tensor = self.main(_upsample(logits, labels), labels)
            if aux_logits is not None:
                loss = loss + self.config.aux_coef * self.aux(_upsample(aux_logits, labels), labels)
            return loss


def _upsample(logits: Tensor, labels: Tensor) -> Tensor:
    return F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
