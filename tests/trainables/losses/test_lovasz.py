import math

import pytest
import torch

from trainables.losses.lovasz import LovaszSoftmax


def _logits(probabilities: list[float]) -> torch.Tensor:
    """Return logits of two classes, (1, 2, 1, P); the second class has these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([(1 - p).log(), p.log()]).view(1, 2, 1, -1)


def test_two_pixels_by_hand() -> None:
    labels = torch.tensor([[[1, 0]]])
    # Class 1 has errors 0.3 (its own) and 0.1, so steps 1 and 0. Class 0 has errors 0.1 (its own) and 0.3: the other's
    # pixel comes first and costs 1/2, its own costs the other half.
    assert LovaszSoftmax()(_logits([0.7, 0.1]), labels).item() == pytest.approx((0.3 + (0.3 + 0.1) / 2) / 2)


def test_of_hard_predictions_it_is_the_jaccard_loss() -> None:
    labels = torch.tensor([[[1, 1, 1, 0, 0, 255]]])
    certain = _logits([1 - 1e-12, 1 - 1e-12, 1e-12, 1 - 1e-12, 1e-12, 0.5])
    # Intersection over union is 2 of 4 for class 1 and 1 of 3 for class 0.
    assert LovaszSoftmax()(certain, labels).item() == pytest.approx(1 - (2 / 4 + 1 / 3) / 2, abs=1e-9)


def test_only_classes_in_the_labels_count() -> None:
    logits = torch.zeros(1, 5, 1, 2, dtype=torch.float64)
    # The labels have one class, and every pixel is wrong by 4/5.
    assert LovaszSoftmax()(logits, torch.tensor([[[3, 3]]])).item() == pytest.approx(0.8)


def test_one_labelled_pixel_by_hand() -> None:
    logits = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    logits[0, 1, 0, 1] = math.log(3)
    labels = torch.tensor([[[255, 1], [255, 255]]])
    assert LovaszSoftmax()(logits, labels).item() == pytest.approx(0.25)


def test_classes_are_those_of_the_batch_not_of_each_image() -> None:
    both = LovaszSoftmax()(torch.cat([_logits([0.7]), _logits([0.1])]), torch.tensor([[[1]], [[0]]]))
    assert both.item() == pytest.approx(LovaszSoftmax()(_logits([0.7, 0.1]), torch.tensor([[[1, 0]]])).item())


def test_a_million_pixels_leave_float32_its_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 1000, 1000, generator=generator)
    labels = (torch.rand(1, 1000, 1000, generator=generator) < 0.01).long()
    loss = LovaszSoftmax()
    assert loss(logits, labels).item() == pytest.approx(loss(logits.double(), labels).item(), rel=1e-5)


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([[[0, 1, 255, 1], [0, 0, 2, 1]], [[255, 1, 1, 1], [0, 0, 0, 0]]])
    assert torch.autograd.gradcheck(lambda x: LovaszSoftmax()(x, labels), logits)
