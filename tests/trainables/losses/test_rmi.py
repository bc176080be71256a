import math

import numpy as np
import pytest
import torch

from tests.trainables.losses.segmentation_reference import region_mutual_information
from trainables.losses.rmi import RegionMutualInformation


def _labels(seed: int = 0) -> torch.Tensor:
    """Return labels with patches of three classes."""
    coarse = torch.randint(0, 3, (2, 5, 5), generator=torch.Generator().manual_seed(seed))
    return coarse.repeat_interleave(6, 1).repeat_interleave(6, 2)


def _certain(labels: torch.Tensor, num_classes: int = 3) -> torch.Tensor:
    classes = torch.arange(num_classes).view(1, -1, 1, 1)
    return torch.where(labels.unsqueeze(1) == classes, 30.0, -30.0)


def test_right_predictions_leave_no_more_than_alpha_does() -> None:
    labels = _labels()
    loss = RegionMutualInformation(1.0)(_certain(labels), labels).item()
    # The remainder of a covariance C is alpha C (C + alpha)^-1 + alpha, at most 2 alpha: half of log 2 per class.
    assert 0.0 <= loss <= 3 * math.log(2) / 2 + 1e-6


def test_predictions_that_say_nothing_leave_the_covariance_of_the_labels() -> None:
    labels = _labels()
    loss = RegionMutualInformation(1.0)(torch.zeros(2, 3, 30, 30), labels).item()
    assert loss == pytest.approx(region_mutual_information(np.zeros((2, 3, 30, 30)), labels.numpy()))
    assert loss > 10 * RegionMutualInformation(1.0)(_certain(labels), labels).item()


def test_a_class_that_an_image_lacks_adds_nothing() -> None:
    labels = _labels()
    logits = torch.randn(2, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    more = torch.cat([logits, torch.randn(2, 4, 30, 30)], 1)
    loss = RegionMutualInformation(1.0)
    assert loss(more, labels).item() == pytest.approx(loss(logits, labels).item(), rel=1e-6)


def test_neighbours_matter_not_pixels_alone() -> None:
    """Shuffling the pixels keeps the cross entropy and changes the mutual information."""
    labels = _labels()
    logits = _certain(labels) / 10 + torch.randn(2, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(900, generator=torch.Generator().manual_seed(0))
    shuffled_logits = logits.flatten(2)[:, :, order].view_as(logits)
    shuffled_labels = labels.flatten(1)[:, order].view_as(labels)
    for share, is_equal in ((0.0, True), (1.0, False)):
        loss = RegionMutualInformation(share)
        first, second = loss(logits, labels).item(), loss(shuffled_logits, shuffled_labels).item()
        assert (first == pytest.approx(second, rel=1e-5)) == is_equal


def test_nearly_right_predictions_keep_the_factor_exact() -> None:
    """If little of a large covariance remains, float32 would lose it."""
    labels = torch.randint(0, 2, (1, 150, 150), generator=torch.Generator().manual_seed(0))
    labels = labels[:, :50, :50].repeat_interleave(3, 1).repeat_interleave(3, 2)
    logits = _certain(labels, 2) / 3 + torch.randn(1, 2, 150, 150, generator=torch.Generator().manual_seed(0))
    loss = RegionMutualInformation(1.0)(logits, labels).item()
    assert loss == pytest.approx(region_mutual_information(logits.double().numpy(), labels.numpy()), rel=1e-4)
