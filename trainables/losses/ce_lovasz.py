"""Sum of cross entropy and Lovasz-softmax."""

from torch import Tensor, nn

from trainables.losses.cross_entropy import CrossEntropy
from trainables.losses.lovasz import LovaszSoftmax


class CrossEntropyLovasz(nn.Module):
    """Weighted cross entropy plus the Lovasz-softmax loss times a coefficient."""

    def __init__(self, weights: Tensor | None, lovasz_coef: float) -> None:
        """Set `weights`, (K,) class weights of the cross entropy; None weighs all classes equally."""
        super().__init__()
        self.cross_entropy = CrossEntropy(weights)
        self.lovasz = LovaszSoftmax()
        self.lovasz_coef = lovasz_coef

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum, a scalar, for logits (B, K, H, W) and labels (B, H, W) int64 in [0, K) or 255, which is
        ignored.
        """
        loss: Tensor = self.cross_entropy(logits, labels) + self.lovasz_coef * self.lovasz(logits, labels)
        return loss
