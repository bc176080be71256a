"""Tests of the contract of every network and of its construction."""

import pytest
import torch

from trainables import models
from trainables.config import ModelConfig
from trainables.models import Segmenter, build_model, warm_model
from trainables.models.projection import ProjectionHead
from trainables.models.t2t_vit import VARIANTS, Variant

NETWORKS = [
    ("fcn", "test_resnet"),
    ("fcn", "test_vit"),
    ("fcn", "test_convnext"),
    ("fcn", "test_mambaout"),
    ("fcn", "resnet10t"),
    ("fcn", "hrnet_w18_small"),
    ("fcn", "t2t_vit_14"),
    ("ocr", "test_resnet"),
    ("ocr", "test_efficientnet"),
    ("ocr", "test_vit"),
    ("ocr", "hrnet_w18_small"),
    ("ocr", "t2t_vit_19"),
    ("deeplab_v3", "test_resnet"),
    ("deeplab_v3", "test_efficientnet"),
    ("deeplab_v3", "test_convnext"),
    ("deeplab_v3", "resnet10t"),
]
HEADS = {"fcn": "test_vit", "ocr": "test_efficientnet", "deeplab_v3": "test_resnet"}
TINY = ModelConfig(backbone="test_resnet", head_channels=8)


@pytest.fixture(autouse=True)
def _small_t2t_vits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIANTS:
        monkeypatch.setitem(VARIANTS, name, Variant(dim=32, depth=2, num_heads=2))


def train_one_step(network: Segmenter, *, batch_size: int = 2, size: int = 64) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    output = network(torch.randn(batch_size, 3, size, size))
    loss = output.logits.square().mean()
    if output.embeddings is not None:
        loss = loss + output.embeddings[:, 0].mean()
    loss.backward()
    optimizer.step()


def assert_same(one: Segmenter, other: Segmenter) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


@pytest.mark.parametrize(("head", "backbone"), NETWORKS)
def test_contract(head: str, backbone: str) -> None:
    config = ModelConfig(head=head, backbone=backbone, head_channels=16)
    network = build_model(config, num_classes=5, proj_dim=6, seed=0)
    assert network.training
    with torch.no_grad():  # some norms and layer scales start at 0 or 1e-6, which would block gradients
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    multiple, stride = network.padding_multiple, network.backbone.strides[0]
    height, width = 5 * multiple, 3 * multiple
    output = network(torch.randn(2, 3, height, width))
    assert output.logits.shape == (2, 5, height // stride, width // stride)
    assert (output.aux_logits is not None) == config.has_aux_head
    if output.aux_logits is not None:
        assert output.aux_logits.shape == output.logits.shape
    assert output.embeddings is not None
    assert output.embeddings.shape == (2, 6, height // stride, width // stride)
    torch.testing.assert_close(output.embeddings.norm(dim=1), torch.ones(2, height // stride, width // stride))

    # Random weights are needed, because sums alone would be constant behind a norm.
    outputs = [tensor for tensor in output if tensor is not None]
    torch.stack([(tensor * torch.rand_like(tensor)).sum() for tensor in outputs]).sum().backward()
    without = [
        key
        for key, p in network.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0.0)
    ]
    assert without == []
    if not backbone.startswith("t2t_vit"):
        assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(("head", "backbone"), [*HEADS.items(), ("fcn", "t2t_vit_14"), ("fcn", "test_mambaout")])
def test_the_seed_decides_the_weights_and_the_global_state_stays(head: str, backbone: str) -> None:
    config = ModelConfig(head=head, backbone=backbone, head_channels=8)
    torch.manual_seed(5)
    expected_draw = torch.rand(3)
    torch.manual_seed(5)
    first = build_model(config, num_classes=3, proj_dim=4, seed=0)
    assert torch.equal(torch.rand(3), expected_draw)
    assert_same(first, build_model(config, num_classes=3, proj_dim=4, seed=0))
    other = build_model(config, num_classes=3, proj_dim=4, seed=1)
    differing = [
        key for key, p in first.named_parameters() if p.ndim == 4 and not torch.equal(p, other.get_parameter(key))
    ]
    assert any(key.startswith("head.") for key in differing)
    assert any(key.startswith("projection.") for key in differing)


@pytest.mark.parametrize(("head", "backbone"), HEADS.items())
def test_backbone_and_head_start_the_same_with_and_without_a_projection_head(head: str, backbone: str) -> None:
    config = ModelConfig(head=head, backbone=backbone, head_channels=8)
    with_projection = build_model(config, num_classes=3, proj_dim=4, seed=0)
    without = build_model(config, num_classes=3, proj_dim=None, seed=0)
    assert without.projection is None
    shared = without.state_dict()
    assert any(key.startswith("backbone.") for key in shared)
    assert any(key.startswith("head.") for key in shared)
    for key, tensor in shared.items():
        assert torch.equal(tensor, with_projection.state_dict()[key]), key
    images = torch.randn(1, 3, 64, 64)
    with_logits, without_logits = (net.eval()(images).logits for net in (with_projection, without))
    assert torch.equal(with_logits, without_logits)


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize(("head", "backbone"), HEADS.items())
def test_trains_on_images_of_256_pixels_one_at_a_time_too(head: str, backbone: str, batch_size: int) -> None:
    network = build_model(ModelConfig(head=head, backbone=backbone, head_channels=8), 3, proj_dim=4, seed=0)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    train_one_step(network, batch_size=batch_size, size=256)
    after = network.state_dict()
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith("head."))


@pytest.mark.parametrize(("head", "backbone"), HEADS.items())
def test_images_of_a_batch_are_scored_as_alone(head: str, backbone: str) -> None:
    network = build_model(ModelConfig(head=head, backbone=backbone, head_channels=8), 3, proj_dim=None, seed=0).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        together, alone = network(images).logits, network(images[1:]).logits
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_head_reads_no_finer_map_than_asked_for() -> None:
    for head, output_stride, expected in [
        ("fcn", None, 4),
        ("ocr", None, 4),
        ("deeplab_v3", None, 8),
        ("fcn", 8, 8),
        ("ocr", 8, 8),
        ("deeplab_v3", 16, 16),
        ("deeplab_v3", 32, 32),
    ]:
        config = ModelConfig(head=head, backbone="test_resnet", head_channels=8, output_stride=output_stride)
        network = build_model(config, num_classes=3, proj_dim=None, seed=0)
        assert network(torch.randn(2, 3, 128, 192)).logits.shape == (2, 3, 128 // expected, 192 // expected)


def test_embeddings_are_computed_only_where_they_are_wanted() -> None:
    network = build_model(TINY, num_classes=3, proj_dim=4, seed=0)
    images = torch.randn(2, 3, 64, 64)
    assert network(images).embeddings is not None
    assert network(images, with_embeddings=False).embeddings is None
    network.eval()
    assert network(images).embeddings is None
    assert network(images, with_embeddings=True).embeddings is not None
    assert build_model(TINY, num_classes=3, proj_dim=None, seed=0)(images).embeddings is None


def test_head_is_as_wide_as_the_features_unless_told() -> None:
    wide = build_model(ModelConfig(backbone="test_resnet", head_channels=None), num_classes=3, proj_dim=None, seed=0)
    channels = sum(wide.backbone.channels)
    assert wide.get_parameter("head.0.weight").shape == (channels, channels, 3, 3)
    narrow = build_model(TINY, num_classes=3, proj_dim=None, seed=0)
    assert narrow.get_parameter("head.0.weight").shape == (8, channels, 3, 3)


def test_projection_is_float32_and_of_unit_length_under_autocast() -> None:
    head = ProjectionHead(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = head(torch.randn(2, 8, 5, 5))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2, 5, 5))


def test_warm_model_equals_a_fresh_one_after_training() -> None:
    arguments = (TINY, 3, 4, 0)
    network = warm_model(*arguments)
    train_one_step(network)
    network.eval().requires_grad_(False)
    with pytest.raises(AssertionError):  # the step changed something, batch-norm statistics included
        assert_same(network, build_model(*arguments))
    again = warm_model(*arguments)
    assert again is network
    fresh = build_model(*arguments)
    assert_same(again, fresh)
    assert all(module.training for module in again.modules())
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in fresh.parameters()]
    assert all(parameter.grad is None for parameter in again.parameters())

    for trained in (again, fresh):
        torch.manual_seed(3)
        train_one_step(trained)
    assert_same(again, fresh)


def test_warm_model_keeps_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = []

    def counting(*arguments: object) -> Segmenter:
        builds.append(arguments)
        return build_model(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(models, "build_model", counting)
    models._kept_model.cache_clear()
    for seed in (0, 0, 1, 0):
        warm_model(TINY, 3, 4, seed)
    assert len(builds) == 3
    assert_same(warm_model(TINY, 3, 4, 0), build_model(TINY, 3, 4, 0))
