"""The Lovasz-softmax loss: a convex surrogate of the mean intersection over union."""

import torch
from torch import Tensor, nn

from trainables.config import IGNORE_INDEX


class LovaszSoftmax(nn.Module):
    """Lovasz-softmax: the Lovasz extension of the Jaccard loss over the pixels of a batch, averaged over its classes.

    See Berman et al. (CVPR 2018, arXiv 1705.08790). Only classes that occur in the labels are averaged. One labelled
    pixel is enough.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss in [0, 1], a scalar of the logits' dtype; a differentiable 0 if every pixel is ignored.

        Args:
            logits: (B, K, H, W) float.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        valid = labels != IGNORE_INDEX
        probabilities, labels = logits.softmax(1).movedim(1, -1)[valid], labels[valid]
        present = labels.bincount().nonzero().flatten().tolist()
        if not present:
            return probabilities.sum()
        return torch.stack([_lovasz_extension(probabilities[:, c], labels == c) for c in present]).mean()


def _lovasz_extension(probabilities: Tensor, is_class: Tensor) -> Tensor:
    """Return the inner product of the errors, in descending order, with the steps of the Jaccard loss."""
    errors = torch.where(is_class, 1 - probabilities, probabilities)
    with torch.no_grad():
        order = errors.argsort(descending=True)
        steps = torch.empty_like(errors).index_copy_(0, order, _jaccard_steps(is_class[order]).to(errors.dtype))
    # A dot product would lose three digits over a million pixels in float32.
    return (errors * steps).sum()


def _jaccard_steps(is_class: Tensor) -> Tensor:
    """Return by how much the Jaccard loss grows as one pixel after another is predicted wrongly, (P,) float64.

    With the first i pixels wrong, the intersection is the class's pixels after i, and the union grows by the other
    pixels among the first i.
    """
    hits = is_class.cumsum(0)
    falses = torch.arange(1, len(hits) + 1, device=hits.device) - hits
    # float64 is needed: a step is about 1 / P, and it is the difference of two numbers near 1.
    losses = 1 - (hits[-1] - hits).double() / (hits[-1] + falses)
    return losses.diff(prepend=losses.new_zeros(1))
