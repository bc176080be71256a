"""Online hard example mining: cross entropy over the pixels that are predicted worst."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import IGNORE_INDEX


class OhemCrossEntropy(nn.Module):
    """Weighted cross entropy over the hard pixels of a batch alone (after Shrivastava et al., arXiv 1604.03540).

    A pixel is hard when its true class is predicted with less than `threshold`, or when it is among the `min_kept`
    hardest of the batch; class weights have no say in that. Pixels as hard as the last one kept are kept too.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None, threshold: float, min_kept: int) -> None:
        """Which pixels count, and how much.

        Args:
            weights: (K,) float, 0 or more; None weighs every class alike.
            threshold: probability of the true class, in [0, 1].
            min_kept: number of pixels, at least 1.
        """
        super().__init__()
        self.register_buffer("weights", None if weights is None else weights.float(), persistent=False)
        self.threshold = threshold
        self.min_kept = min_kept

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted mean over hard pixels, a scalar of the logits' type; a differentiable 0 without any.

        Args:
            logits: (B, K, H, W) float.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        valid = labels != IGNORE_INDEX
        losses, labels = (
            F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")[valid],
            labels[valid],
        )
        kept = self._is_hard(losses.detach())
        losses, labels = losses[kept], labels[kept]
        weights = torch.ones_like(losses) if self.weights is None else self.weights[labels]
        norm = weights.sum()
        return (weights * losses).sum() / torch.where(norm > 0, norm, 1.0)

    def _is_hard(self, losses: Tensor) -> Tensor:
        if len(losses) <= self.min_kept:
            return torch.ones_like(losses, dtype=torch.bool)
        last_kept = losses.kthvalue(len(losses) - self.min_kept + 1).values
        # Said of the pixels that go, so that a NaN stays and is seen.
        return ~((losses < last_kept) & (losses.neg().exp() >= self.threshold))
