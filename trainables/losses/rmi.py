"""Region mutual information: the labels around a pixel, given the predictions around it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import IGNORE_INDEX

RADIUS = 3
"""Side of a region, in pixels of the pooled maps: a region is a vector of RADIUS * RADIUS values."""
POOLING = 3
"""Side of the windows over which labels and probabilities are max-pooled first."""
ALPHA = 1e-3
"""Added to the diagonals of the covariances, which are sums over regions."""


class RegionMutualInformation(nn.Module):
    """How little the predictions of a region say about its labels, beside binary cross entropy.

    Minus the lower bound of the mutual information of Zhao et al. (NeurIPS 2019, arXiv 1910.12037). For every class in
    an image, with the regions of its labels y and of its sigmoid probabilities p and their covariances,

        R = log det(cov(y) - cov(y, p) (cov(p) + alpha I)^-1 cov(y, p)^T + alpha I) / (2 RADIUS^2) - log(alpha) / 2

    is summed over classes and averaged over the images that have labelled pixels. Departure: the last term, a
    constant, makes R 0 at best instead of log(alpha) / 2; a class that an image lacks then adds nothing.
    """

    def __init__(self, rmi_weight: float) -> None:
        """`rmi_weight`: share of R, in [0, 1]; the rest is binary cross entropy."""
        super().__init__()
        self.rmi_weight = rmi_weight

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, 0 or more, a scalar of the logits' type; a differentiable 0 where every pixel is ignored.

        Args:
            logits: (B, K, H, W) float; H and W at least 7, below which there is no region.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        return self.rmi_weight * _rmi(logits, labels).to(logits.dtype) + (1 - self.rmi_weight) * _bce(logits, labels)


def _bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy, summed over classes and averaged over the labelled pixels."""
    valid = labels != IGNORE_INDEX
    targets = F.one_hot(labels[valid], logits.shape[1]).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits.movedim(1, -1)[valid], targets, reduction="sum")
    return total / max(1, len(targets))


def _rmi(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of R over classes, averaged over images, a float64 scalar."""
    classes = torch.arange(logits.shape[1], device=labels.device).unsqueeze(1)
    num_images = (labels != IGNORE_INDEX).flatten(1).any(1).sum().clamp(min=1)
    image, label = (labels.flatten(1).unsqueeze(1) == classes).any(2).nonzero(as_tuple=True)
    labels = labels[image]
    # Ignored pixels are no pixels of the class, on either side.
    probabilities = logits[image, label].sigmoid().double().where(labels != IGNORE_INDEX, 0.0)
    regions = torch.cat([_regions(probabilities), _regions((labels == label.view(-1, 1, 1)).double())], 1)
    regions = regions - regions.mean(2, keepdim=True)

    size = RADIUS * RADIUS
    covariances = regions @ regions.mT + ALPHA * torch.eye(2 * size, dtype=regions.dtype, device=regions.device)
    # The lower right block of the factor is that of the Schur complement: the covariance of y given p, with alpha.
    factors = torch.linalg.cholesky_ex(covariances).L
    log_dets = 2 * factors.diagonal(dim1=1, dim2=2)[:, size:].log().sum(1)
    total: Tensor = (log_dets / (2 * size) - math.log(ALPHA) / 2).sum()
    return total / num_images


def _regions(maps: Tensor) -> Tensor:
    """The regions of max-pooled maps (G, H, W), one a column: (G, RADIUS * RADIUS, N)."""
    pooled = F.max_pool2d(maps.unsqueeze(1), POOLING, stride=POOLING, padding=POOLING // 2)
    return F.unfold(pooled, RADIUS)
