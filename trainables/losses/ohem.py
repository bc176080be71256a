"""Online hard example mining: cross entropy over the hardest pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import IGNORE_INDEX


class OhemCrossEntropy(nn.Module):
    """Weighted cross entropy over only the hard pixels of a batch (after Shrivastava et al., arXiv 1604.03540).

    A pixel is hard if its true class is predicted with a probability below `threshold`, or if it is among the
    `min_kept` hardest of the batch. Class weights do not affect this choice. Pixels as hard as the last one that is
    kept are kept too.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None, threshold: float, min_kept: int) -> None:
        """Set which pixels are hard and how the classes are weighted.

        Args:
            weights: (K,) float, 0 or more; None weighs all classes equally.
            threshold: Probability of the true class, in [0, 1].
            min_kept: Number of pixels, at least 1.
        """
        super().__init__()
        self.register_buffer("weights", None if weights is None else weights.float(), persistent=False)
        self.threshold = threshold
        self.min_kept = min_kept

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted mean over hard pixels, a scalar of the logits' dtype; a differentiable 0 if there are
        none.

        Args:
            logits: (B, K, H, W) float.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        valid = labels != IGNORE_INDEX
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
        kept = valid & self._is_hard(losses.detach().where(valid, -torch.inf))
        weights = kept.to(losses.dtype) if self.weights is None else self.weights[labels.where(valid, 0)] * kept
        norm = weights.sum()
        return (weights * losses).sum() / torch.where(norm > 0, norm, 1.0)

    def _is_hard(self, losses: Tensor) -> Tensor:
        """Return which pixels are hard; the loss of ignored pixels is -inf."""
        if losses.numel() <= self.min_kept:
            return torch.ones_like(losses, dtype=torch.bool)
        last_kept = losses.flatten().kthvalue(losses.numel() - self.min_kept + 1).values
        # The condition names the pixels to leave out, so that a NaN is kept and noticed.
        return ~((losses < last_kept) & (losses.neg().exp() >= self.threshold))
