import math

import pytest
import torch
import torch.nn.functional as F

from trainables.losses.cross_entropy import CrossEntropy


def _batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 8, 10, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (2, 8, 10), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    return logits, labels


def test_two_pixels_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]]).reshape(1, 2, 1, 2)
    labels = torch.tensor([[[1, 0]]])
    # -ln(3/4) with weight 3 and -ln(1/2) with weight 1.
    expected = (3 * math.log(4 / 3) + math.log(2)) / 4
    loss = CrossEntropy(torch.tensor([1.0, 3.0]))(logits, labels)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 5.0, 1.0])])
def test_it_is_torchs_weighted_mean(weights: torch.Tensor | None) -> None:
    logits, labels = _batch()
    expected = F.cross_entropy(logits, labels, weights, ignore_index=255)
    loss = CrossEntropy(weights)(logits, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits))


def test_only_classes_of_weight_zero_give_a_differentiable_zero() -> None:
    logits, labels = _batch()
    loss = CrossEntropy(torch.tensor([1.0, 0.0, 1.0]))(logits, torch.ones_like(labels))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0.0).all()


def test_tiny_weights_are_normalised_like_any() -> None:
    logits, labels = _batch()
    weights = torch.tensor([0.2, 5.0, 1.0])
    tiny = CrossEntropy(weights * 1e-20)(logits, labels)
    torch.testing.assert_close(tiny, CrossEntropy(weights)(logits, labels))
