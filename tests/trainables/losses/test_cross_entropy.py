import math

import pytest
import torch
import torch.nn.functional as F

from trainables.config import LossConfig
from trainables.losses import build_segmentation_loss
from trainables.losses.cross_entropy import CrossEntropy


def _batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (2, 8, 10), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    return logits, labels


def test_two_pixels_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]]).reshape(1, 2, 1, 2)
    labels = torch.tensor([[[1, 0]]])
    # -ln(3/4) with weight 3 and -ln(1/2) with weight 1.
    expected = (3 * math.log(4 / 3) + math.log(2)) / 4
    loss = CrossEntropy(LossConfig(), torch.tensor([1.0, 3.0]))(logits, labels)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 5.0, 1.0])])
def test_it_is_torchs_weighted_mean_over_upsampled_logits(weights: torch.Tensor | None) -> None:
    logits, labels = _batch()
    upsampled = F.interpolate(logits, (8, 10), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(upsampled, labels, weights, ignore_index=255)
    loss = CrossEntropy(LossConfig(), weights)(logits, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 5.0, 1.0])])
def test_ignored_pixels_have_no_gradient(weights: torch.Tensor | None) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.tensor([[[0, 255], [255, 2]]])
    CrossEntropy(LossConfig(), weights)(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).any(1).tolist() == [[[True, False], [False, True]]]


@pytest.mark.parametrize(("weights", "label"), [(None, 255), (torch.ones(3), 255), (torch.tensor([1.0, 0.0, 1.0]), 1)])
def test_a_batch_without_weight_gives_a_differentiable_zero(weights: torch.Tensor | None, label: int) -> None:
    logits, labels = _batch()
    loss = CrossEntropy(LossConfig(), weights)(logits, torch.full_like(labels, label))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0.0).all()


def test_tiny_weights_are_normalised_like_any() -> None:
    logits, labels = _batch()
    weights = torch.tensor([0.2, 5.0, 1.0])
    tiny = CrossEntropy(LossConfig(), weights * 1e-20)(logits, labels)
    torch.testing.assert_close(tiny, CrossEntropy(LossConfig(), weights)(logits, labels))


def test_it_is_float32_under_autocast() -> None:
    logits, labels = _batch()
    half = logits.detach().bfloat16()
    loss = CrossEntropy(LossConfig(), None)
    with torch.autocast("cpu", torch.bfloat16):
        result = loss(half, labels)
    assert result.dtype == torch.float32
    assert result.item() == loss(half.float(), labels).item()


def test_class_weights_come_from_the_counts_and_stay_out_of_checkpoints() -> None:
    loss = build_segmentation_loss(LossConfig(ce_weights="max_over_count", ce_weight_power=0.5), [400, 100, 0])
    assert loss.weights is not None
    assert loss.weights.tolist() == [1.0, 2.0, 0.0]
    assert loss.state_dict() == {}


def test_power_zero_is_the_unweighted_loss() -> None:
    logits, labels = _batch()
    unweighted = build_segmentation_loss(LossConfig(ce_weight_power=0.0), [400, 100, 1])
    torch.testing.assert_close(unweighted(logits, labels), CrossEntropy(LossConfig(), None)(logits, labels))
