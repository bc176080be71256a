"""The Lovasz-softmax loss: a convex surrogate of the mean intersection over union."""

import torch
from torch import Tensor, nn

from trainables import devices
from trainables.config import IGNORE_INDEX
from trainables.losses.anchor_sampling import count_groups


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
        num_classes, labels = logits.shape[1], labels.flatten()
        valid = labels != IGNORE_INDEX
        probabilities = logits.softmax(1).movedim(1, 0).flatten(1)
        counts = count_groups(labels, IGNORE_INDEX + 1)[:num_classes]
        # An accelerator would have to wait to learn which classes occur.
        classes = counts.nonzero().flatten().tolist() if devices.reading_is_free(labels) else range(num_classes)
        zero = probabilities.sum() * 0.0
        terms = [_lovasz_extension(probabilities[c], labels == c, valid, counts[c]) for c in classes]
        total = torch.stack([zero, *terms]).sum()
        return total / (counts > 0).sum().clamp(min=1)


def _lovasz_extension(probabilities: Tensor, is_class: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Return the inner product of the errors, in descending order, with the steps of the Jaccard loss.

    With h pixels of the class and f others before it, a pixel of the class adds 1 / (count + f) to the Jaccard loss,
    and another pixel adds (count - h) / ((count + f) (count + f + 1)). Ignored pixels have error 0 and come last. The
    result is 0 for a class without pixels.
    """
    errors = torch.where(is_class, 1 - probabilities, probabilities)
    errors = torch.where(valid & (count > 0), errors, 0.0)
    with torch.no_grad():
        # The bits of floats that are not negative have the order of the floats, and integers are sorted much faster,
        # if they ascend.
        bits = errors.view(torch.int32 if errors.dtype == torch.float32 else torch.int64)
        order = bits.neg().sort().indices
        hits = is_class[order]
        num_hits = hits.cumsum(0)
        unions = (torch.arange(len(hits), device=hits.device) - num_hits + hits + count).clamp(min=1).to(errors.dtype)
        steps = torch.where(hits, 1 / unions, (count - num_hits) / (unions * (unions + 1)))
        steps = torch.empty_like(errors).scatter_(0, order, steps.to(errors.dtype))
    # A dot product would lose three digits over a million pixels in float32.
    return (errors * steps).sum()
