"""Cross entropy of the segmentation head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import IGNORE_INDEX, LossConfig


class CrossEntropy(nn.Module):
    """Weighted cross entropy at the labels' resolution, not yet multiplied by `config.ce_coef`.

    The sum over pixels is divided by the sum of their class weights, as torch does. Where that sum is 0 (every pixel
    ignored, or only classes of weight 0) the loss is a differentiable 0 instead of NaN.
    """

    weights: Tensor | None

    def __init__(self, config: LossConfig, weights: Tensor | None) -> None:
        """`weights`: (K,) float, 0 or more; None weighs every class alike."""
        super().__init__()
        self.config = config
        self.register_buffer("weights", None if weights is None else weights.float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a float32 scalar, also under autocast.

        Args:
            logits: (B, K, h, w) float; upsampled bilinearly to the size of the labels.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
            total = F.cross_entropy(logits, labels, self.weights, ignore_index=IGNORE_INDEX, reduction="sum")
            norm = self._sum_of_weights(labels)
            return total / torch.where(norm > 0, norm, 1.0)

    def _sum_of_weights(self, labels: Tensor) -> Tensor:
        valid = labels != IGNORE_INDEX
        if self.weights is None:
            return valid.sum()
        return torch.where(valid, self.weights[labels.where(valid, 0)], 0.0).sum()
