"""Region mutual information between the labels and the predictions around a pixel."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import IGNORE_INDEX

RADIUS = 3
"""Side of a region, in pixels of the pooled maps. A region is a vector of RADIUS * RADIUS values."""
POOLING = 3
"""Side of the windows over which labels and probabilities are max-pooled first."""
ALPHA = 1e-3
"""Constant that is added to the diagonals of the covariances, which are sums over regions."""


class RegionMutualInformation(nn.Module):
    """Loss that is high if the predictions in a region say little about its labels, combined with binary cross entropy.

    It is the negative lower bound of the mutual information of Zhao et al. (NeurIPS 2019, arXiv 1910.12037). For each
    class in an image, let y be the regions of its labels and p those of its sigmoid probabilities. With their
    covariances,

        R = log det(cov(y) - cov(y, p) (cov(p) + alpha I)^-1 cov(y, p)^T + alpha I) / (2 RADIUS^2) - log(alpha) / 2

    is summed over classes and averaged over the images that have labelled pixels. One departure: the last term, a
    constant, makes the best R 0 instead of log(alpha) / 2, so that a class that is absent from an image adds nothing.
    """

    def __init__(self, rmi_weight: float) -> None:
        """Set `rmi_weight`, the share of R in [0, 1]; the rest is binary cross entropy."""
        super().__init__()
        self.rmi_weight = rmi_weight

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, 0 or more, a scalar of the logits' dtype; a differentiable 0 if every pixel is ignored.

        Args:
            logits: (B, K, H, W) float; H and W at least 7, since smaller maps have no region.
            labels: (B, H, W) int64 in [0, K) or 255, which is ignored.
        """
        return self.rmi_weight * _rmi(logits, labels).to(logits.dtype) + (1 - self.rmi_weight) * _bce(logits, labels)


def _bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross entropy, summed over classes and averaged over the labelled pixels."""
    valid = labels != IGNORE_INDEX
    targets = F.one_hot(labels[valid], logits.shape[1]).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits.movedim(1, -1)[valid], targets, reduction="sum")
    return total / max(1, len(targets))


def _rmi(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of R over classes, averaged over images, a float64 scalar."""
    classes = torch.arange(logits.shape[1], device=labels.device).unsqueeze(1)
    num_images = (labels != IGNORE_INDEX).flatten(1).any(1).sum().clamp(min=1)
    image, label = (labels.flatten(1).unsqueeze(1) == classes).any(2).nonzero(as_tuple=True)
    labels = labels[image]
    # Ignored pixels do not belong to the class, neither in the labels nor in the probabilities.
    probabilities = logits[image, label].sigmoid().double().where(labels != IGNORE_INDEX, 0.0)
    regions = torch.cat([_regions(probabilities), _regions((labels == label.view(-1, 1, 1)).double())], 1)
    regions = regions - regions.mean(2, keepdim=True)

    size = RADIUS * RADIUS
    covariances = regions @ regions.mT + ALPHA * torch.eye(2 * size, dtype=regions.dtype, device=regions.device)
    # The lower right block of the factor is the factor of the Schur complement: the covariance of y given p, plus
    # alpha.
    factors = torch.linalg.cholesky_ex(covariances).L
    log_dets = 2 * factors.diagonal(dim1=1, dim2=2)[:, size:].log().sum(1)
    total: Tensor = (log_dets / (2 * size) - math.log(ALPHA) / 2).sum()
    return total / num_images


def _regions(maps: Tensor) -> Tensor:
    """Return the regions of max-pooled maps (G, H, W), one per column: (G, RADIUS * RADIUS, N)."""
    pooled = F.max_pool2d(maps.unsqueeze(1), POOLING, stride=POOLING, padding=POOLING // 2)
    return F.unfold(pooled, RADIUS)
