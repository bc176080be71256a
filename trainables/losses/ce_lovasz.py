"""Cross entropy and Lovasz-softmax together."""

from torch import Tensor, nn

from trainables.losses.cross_entropy import CrossEntropy
from trainables.losses.lovasz import LovaszSoftmax


class CrossEntropyLovasz(nn.Module):
    """Weighted cross entropy plus a coefficient times the Lovasz-softmax."""

    def __init__(self, weights: Tensor | None, lovasz_coef: float) -> None:
        """`weights`: (K,) class weights of the cross entropy alone; None weighs every class alike."""
        super().__init__()
        self.cross_entropy = CrossEntropy(weights)
        self.lovasz = LovaszSoftmax()
        self.lovasz_coef = lovasz_coef

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum, a scalar, of logits (B, K, H, W) and labels (B, H, W) int64 in [0, K) or 255, which is ignored."""
        loss: Tensor = self.cross_entropy(logits, labels) + self.lovasz_coef * self.lovasz(logits, labels)
        return loss
