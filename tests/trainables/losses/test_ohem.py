import pytest
import torch
import torch.nn.functional as F

from trainables.losses.ohem import OhemCrossEntropy


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits, labels, and the probability of the true class at every pixel."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 3, 5, 6, generator=generator)
    labels = torch.randint(0, 3, (2, 5, 6), generator=generator)
    return logits.requires_grad_(), labels, logits.detach().softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)


def _kept(loss: OhemCrossEntropy, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    return (gradient != 0).any(1)


def test_pixels_below_the_threshold_are_kept() -> None:
    logits, labels, probabilities = _batch()
    kept = _kept(OhemCrossEntropy(None, 0.4, 1), logits, labels)
    assert torch.equal(kept, probabilities < 0.4)
    assert 0 < kept.sum() < kept.numel()


def test_so_many_are_kept_whatever_the_threshold() -> None:
    logits, labels, probabilities = _batch()
    kept = _kept(OhemCrossEntropy(None, 0.0, 7), logits, labels)
    assert kept.sum() == 7
    assert probabilities[kept].max() < probabilities[~kept].min()


def test_pixels_as_hard_as_the_last_are_kept_too() -> None:
    assert _kept(
        OhemCrossEntropy(None, 0.0, 2), torch.zeros(1, 3, 2, 4).requires_grad_(), torch.zeros(1, 2, 4).long()
    ).all()


@pytest.mark.parametrize("min_kept", [60, 61, 1000])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.3, 2.0, 1.0])])
def test_keeping_all_is_the_cross_entropy(min_kept: int, weights: torch.Tensor | None) -> None:
    logits, labels, _ = _batch()
    loss = OhemCrossEntropy(weights, 0.0, min_kept)(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, weights))


def test_class_weights_weigh_but_do_not_choose() -> None:
    logits, labels, _ = _batch()
    weights = torch.tensor([1.0, 100.0, 0.01])
    kept = _kept(OhemCrossEntropy(None, 0.3, 10), logits, labels)
    assert torch.equal(_kept(OhemCrossEntropy(weights, 0.3, 10), logits, labels), kept)
    expected = F.cross_entropy(logits, labels.where(kept, 255), weights, ignore_index=255)
    torch.testing.assert_close(OhemCrossEntropy(weights, 0.3, 10)(logits, labels), expected)


def test_only_classes_of_weight_zero_give_a_differentiable_zero() -> None:
    logits, labels, _ = _batch()
    loss = OhemCrossEntropy(torch.tensor([0.0, 1.0, 1.0]), 0.7, 5)(logits, torch.zeros_like(labels))
    assert loss.item() == 0.0
    assert (torch.autograd.grad(loss, logits)[0] == 0.0).all()
