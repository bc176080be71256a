"""Cross entropy over the labelled pixels of a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import IGNORE_INDEX


class CrossEntropy(nn.Module):
    """Weighted cross entropy: the sum over pixels divided by the sum of their class weights, as torch does.

    If that sum is 0, because every pixel is ignored or belongs to a class of weight 0, the loss is a differentiable 0
    instead of NaN.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None) -> None:
        """Set `weights`, (K,) float, 0 or more; None weighs all classes equally."""
        super().__init__()
        self.register_buffer("weights", None if weights is None else weights.float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar of the logits' dtype.

        Args:
            logits: (B, K, H, W) float.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        total = F.cross_entropy(logits, labels, self.weights, ignore_index=IGNORE_INDEX, reduction="sum")
        norm = self._sum_of_weights(labels)
        return total / torch.where(norm > 0, norm, 1.0)

    def _sum_of_weights(self, labels: Tensor) -> Tensor:
        valid = labels != IGNORE_INDEX
        if self.weights is None:
            return valid.sum()
        return torch.where(valid, self.weights[labels.where(valid, 0)], 0.0).sum()
