"""Region mutual information between the labels and the predictions around a pixel."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables import devices
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
    # For a class with target t, it is softplus(x) - t x.
    of_labels = logits.gather(1, labels.where(valid, 0).unsqueeze(1)).squeeze(1)
    totals = torch.where(valid, F.softplus(logits).sum(1) - of_labels, 0.0)
    return totals.sum() / valid.sum().clamp(min=1)


def _rmi(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of R over classes, averaged over images, a float64 scalar."""
    num_classes, valid = logits.shape[1], labels != IGNORE_INDEX
    num_images = valid.flatten(1).any(1).sum().clamp(min=1)
    # Ignored pixels do not belong to the class, neither in the labels nor in the probabilities.
    logits = logits.masked_fill(~valid.unsqueeze(1), -torch.inf)
    targets = labels.unsqueeze(1) == torch.arange(num_classes, device=labels.device).view(-1, 1, 1)
    if devices.reading_is_free(
        labels
    ):  # an accelerator would have to wait to learn which classes an image has; the others add 0
        image, label = targets.flatten(2).any(2).nonzero(as_tuple=True)
        logits, targets = logits[image, label], targets[image, label]
    else:
        logits, targets = logits.flatten(0, 1), targets.flatten(0, 1)
    # The sigmoid keeps the order, so it comes after the pooling, which leaves far fewer values.
    probabilities = _pooled(logits).double().sigmoid()
    size = RADIUS * RADIUS
    of_probabilities = _regions(probabilities)
    of_labels = _regions(_pooled(targets).double())
    upper = torch.cat([_products(of_probabilities, of_probabilities), _products(of_probabilities, of_labels)], 2)
    lower = torch.cat([upper[:, :, size:].mT, _products(of_labels, of_labels)], 2)
    covariances = torch.cat([upper, lower], 1)
    covariances = covariances + ALPHA * torch.eye(2 * size, dtype=covariances.dtype, device=covariances.device)
    # The lower right block of the factor is the factor of the Schur complement: the covariance of y given p, plus
    # alpha.
    factors = torch.linalg.cholesky_ex(covariances).L
    log_dets = 2 * factors.diagonal(dim1=1, dim2=2)[:, size:].log().sum(1)
    total: Tensor = (log_dets / (2 * size) - math.log(ALPHA) / 2).sum()
    return total / num_images


def _pooled(maps: Tensor) -> Tensor:
    """Return max-pooled maps (G, 1, h, w) for maps (G, H, W), float or bool."""
    if maps.dtype == torch.bool:
        padded = F.pad(maps, (POOLING // 2, POOLING, POOLING // 2, POOLING))
        height, width = ((side + 2 * (POOLING // 2) - POOLING) // POOLING + 1 for side in maps.shape[1:])
        rows = torch.stack([padded[:, shift::POOLING][:, :height] for shift in range(POOLING)]).any(0)
        columns = torch.stack([rows[:, :, shift::POOLING][:, :, :width] for shift in range(POOLING)])
        return columns.any(0).unsqueeze(1)
    return F.max_pool2d(maps.unsqueeze(1), POOLING, stride=POOLING, padding=POOLING // 2)


def _regions(maps: Tensor) -> Tensor:
    """Return the regions of maps (G, 1, h, w), one per column, as their difference to about their mean.

    They are (G, RADIUS * RADIUS, N).
    """
    return F.unfold(maps - maps.mean((2, 3), keepdim=True), RADIUS)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return the sums of products of regions, as their difference to their mean: (G, 9, 9)."""
    # The means are small already, so their products take no precision away.
    means = one.mean(2).unsqueeze(2) * other.mean(2).unsqueeze(1)
    return one @ other.mT - one.shape[2] * means
