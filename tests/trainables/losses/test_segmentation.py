"""Tests that apply to every segmentation loss."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.trainables.losses.contrast_reference import numerical_gradient
from tests.trainables.losses.segmentation_reference import Array, cross_entropy, segmentation_reference
from trainables.config import LossConfig
from trainables.losses import build_segmentation_loss
from trainables.losses.segmentation import SegmentationLoss

KINDS = get_args(LossConfig.model_fields["segmentation"].annotation)
WEIGHTED = {"ce", "ohem_ce", "ce_lovasz"}
WEIGHTS = (0.5, 3.0, 1.0, 7.0)
SIZE = (14, 11)

every_kind = pytest.mark.parametrize("kind", KINDS)


def _loss(kind: str, **options: Any) -> SegmentationLoss:
    settings = {"segmentation": kind, "ohem_min_kept": 20, "ohem_threshold": 0.2, "aux_coef": 0.4, **options}
    return build_segmentation_loss(LossConfig.model_validate(settings), [1, 1, 1, 1])


def _weighted(kind: str, **options: Any) -> SegmentationLoss:
    return _loss(kind, ce_weights=WEIGHTS, ce_weight_power=1.0, **options)


def _batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels of one resolution; class 3 is neither in image 0 nor in the ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (2, *SIZE), generator=generator)
    labels[1, 3:8, 2:9] = 3
    labels[:, 5, :4] = 255
    logits = torch.randn(2, 4, *SIZE, generator=generator) + 2 * F.one_hot(labels % 5, 256)[..., :4].movedim(-1, 1)
    return logits.requires_grad_(), labels


def _gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient


@every_kind
@pytest.mark.parametrize("build", [_loss, _weighted])
def test_value_is_that_of_the_definition(kind: str, build: Callable[..., SegmentationLoss]) -> None:
    loss = build(kind, lovasz_coef=0.7, rmi_weight=0.3)
    weights = np.asarray(WEIGHTS if build is _weighted else (1.0,) * 4)
    for seed in range(3):
        logits, labels = _batch(seed)
        value = loss(logits, None, labels)
        expected = segmentation_reference(loss.config, logits.detach().double().numpy(), labels.numpy(), weights)
        assert value.dtype == torch.float32
        assert value.shape == ()
        assert value.item() == pytest.approx(expected, rel=2e-5)


@every_kind
def test_gradient_is_that_of_the_definition(kind: str) -> None:
    loss = _weighted(kind)
    logits, labels = _batch()
    gradient = _gradient(loss(logits, None, labels), logits)
    exact = logits.detach().double().numpy()

    def at(part: Array) -> float:
        moved = exact.copy()
        moved[1, :, 5:6, 2:6] = part
        return segmentation_reference(loss.config, moved, labels.numpy(), np.asarray(WEIGHTS))

    expected = numerical_gradient(at, exact[1, :, 5:6, 2:6])
    np.testing.assert_allclose(gradient[1, :, 5:6, 2:6].numpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@every_kind
def test_logits_are_upsampled_to_the_labels(kind: str) -> None:
    logits, labels = torch.randn(2, 4, 7, 5, generator=torch.Generator().manual_seed(0)), _batch()[1]
    upsampled = F.interpolate(logits, SIZE, mode="bilinear", align_corners=False)
    loss = _weighted(kind)
    assert loss(logits, None, labels).item() == loss(upsampled, None, labels).item()
    assert loss(logits, logits, labels).item() == loss(upsampled, upsampled, labels).item()


@every_kind
def test_the_auxiliary_head_adds_its_cross_entropy(kind: str) -> None:
    logits, labels = _batch(0)
    aux_logits, _ = _batch(1)
    loss = _weighted(kind, aux_coef=0.3)
    both = loss(logits, aux_logits, labels)
    expected = cross_entropy(aux_logits.detach().double().numpy(), labels.numpy(), np.asarray(WEIGHTS))
    assert (both - loss(logits, None, labels)).item() == pytest.approx(0.3 * expected, rel=1e-4)
    alone = torch.autograd.grad(loss(logits, None, labels), logits)
    of_main, of_aux = torch.autograd.grad(both, (logits, aux_logits))
    torch.testing.assert_close(of_main, alone[0])
    assert (of_aux != 0).any()


@every_kind
def test_ignored_pixels_have_no_influence(kind: str) -> None:
    logits, labels = _batch()
    loss = _weighted(kind)
    value = loss(logits, logits, labels)
    gradient = _gradient(value, logits)
    assert gradient.isfinite().all()
    is_ignored = (labels == 255).unsqueeze(1).expand_as(logits)
    assert (gradient[is_ignored] == 0).all()
    assert (gradient != 0).any()
    with torch.no_grad():
        logits[is_ignored] = 50 * torch.randn(int(is_ignored.sum()), generator=torch.Generator().manual_seed(1))
    assert loss(logits, logits, labels).item() == value.item()


@every_kind
def test_an_ignored_image_has_no_influence(kind: str) -> None:
    logits, labels = _batch()
    loss = _weighted(kind)
    alone = loss(logits[:1], None, labels[:1])
    labels[1] = 255
    assert loss(logits, None, labels).item() == pytest.approx(alone.item(), rel=1e-6)


@every_kind
@pytest.mark.parametrize("build", [_loss, _weighted])
def test_all_ignored_is_a_differentiable_zero(kind: str, build: Callable[..., SegmentationLoss]) -> None:
    logits, labels = _batch()
    loss = build(kind)(logits, logits, torch.full_like(labels, 255))
    assert loss.item() == 0.0
    assert (_gradient(loss, logits) == 0.0).all()


@every_kind
@pytest.mark.parametrize("build", [_loss, _weighted])
def test_one_labelled_pixel_is_enough(kind: str, build: Callable[..., SegmentationLoss]) -> None:
    logits, labels = _batch()
    labels = torch.full_like(labels, 255)
    labels[1, 6, 4] = 2
    loss = build(kind)(logits, None, labels)
    gradient = _gradient(loss, logits)
    assert loss.item() > 0.0
    assert gradient.isfinite().all()
    assert (gradient != 0).any(1).nonzero().tolist() == [[1, 6, 4]]


@every_kind
def test_it_is_float32_under_autocast(kind: str) -> None:
    logits, labels = _batch()
    half = logits.detach().bfloat16()
    loss = _weighted(kind)
    with torch.autocast("cpu", torch.bfloat16):
        result = loss(half, half, labels)
    assert result.dtype == torch.float32
    assert result.item() == loss(half.float(), half.float(), labels).item()


@every_kind
def test_class_weights_matter_where_they_should(kind: str) -> None:
    logits, labels = _batch()
    plain, weighted = _loss(kind), _weighted(kind)
    differs = plain(logits, None, labels).item() != weighted(logits, None, labels).item()
    assert differs == (kind in WEIGHTED)
    assert plain(logits, logits, labels).item() != weighted(logits, logits, labels).item()


@every_kind
@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
def test_value_and_gradient_are_finite(kind: str, scale: float) -> None:
    logits, labels = _batch()
    logits = (scale * logits.detach()).requires_grad_()
    loss = _weighted(kind)(logits, logits, labels)
    assert loss.isfinite()
    assert loss.item() >= 0.0
    assert _gradient(loss, logits).isfinite().all()


@every_kind
def test_labels_stay_as_they_are(kind: str) -> None:
    logits, labels = _batch()
    before = labels.clone()
    _weighted(kind)(logits, logits, labels).backward()
    assert torch.equal(labels, before)


@every_kind
def test_a_nan_is_not_hidden(kind: str) -> None:
    logits, labels = _batch()
    with torch.no_grad():
        logits[0, 1, 0, 0] = torch.nan
    assert _loss(kind)(logits, None, labels).isnan()


@every_kind
def test_descent_leads_to_the_labels(kind: str) -> None:
    _, labels = _batch()
    logits = torch.zeros(2, 4, *SIZE, requires_grad=True)
    loss = _loss(kind)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        loss(logits, None, labels).backward()
        optimizer.step()
    valid = labels != 255
    assert (logits.argmax(1) == labels)[valid].float().mean() > 0.99


@every_kind
def test_class_weights_stay_out_of_checkpoints(kind: str) -> None:
    loss = _weighted(kind)
    assert loss.state_dict() == {}
    assert loss.config.segmentation == kind


def test_class_weights_come_from_the_counts() -> None:
    logits, labels = _batch()
    config = LossConfig(ce_weights="max_over_count", ce_weight_power=0.5)
    expected = F.cross_entropy(logits, labels, torch.tensor([1.0, 2.0, 4.0, 0.0]), ignore_index=255)
    assert build_segmentation_loss(config, [1600, 400, 100, 0])(logits, None, labels).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "option", "values"),
    [
        ("ohem_ce", "ohem_threshold", (0.1, 0.9)),
        ("ohem_ce", "ohem_min_kept", (1, 40)),
        ("ce_lovasz", "lovasz_coef", (0.5, 1.0)),
        ("rmi", "rmi_weight", (0.2, 0.8)),
        ("ce", "aux_coef", (0.2, 0.8)),
    ],
)
def test_every_option_changes_the_loss(kind: str, option: str, values: tuple[float, float]) -> None:
    logits, labels = _batch()
    first, second = (_loss(kind, **{"ohem_threshold": 0.1, option: value}) for value in values)
    assert first(logits, logits, labels).item() != second(logits, logits, labels).item()
