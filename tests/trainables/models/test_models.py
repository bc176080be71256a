"""The contract of every network, and what building one promises."""

import pytest
import torch

from trainables import models
from trainables.config import ModelConfig
from trainables.models import Segmenter, build_model, warm_model
from trainables.models.heads import FCNHead
from trainables.models.heads.concat import concat_maps
from trainables.models.projection import ProjectionHead

BACKBONES = ["test_resnet", "test_vit", "test_convnext", "test_mambaout", "resnet10t", "hrnet_w18_small"]
TINY = ModelConfig(backbone="test_resnet", head_channels=8)


def train_one_step(network: Segmenter) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    output = network(torch.randn(2, 3, 64, 64))
    loss = output.logits.square().mean()
    if output.embeddings is not None:
        loss = loss + output.embeddings[:, 0].mean()
    loss.backward()
    optimizer.step()


def assert_same(one: Segmenter, other: Segmenter) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


@pytest.mark.parametrize("name", BACKBONES)
def test_contract(name: str) -> None:
    network = build_model(ModelConfig(backbone=name, head_channels=16), num_classes=5, proj_dim=6, seed=0)
    assert network.training
    with torch.no_grad():  # norms and layer scales start at 0 or 1e-6 in places: no gradient behind them
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    multiple, stride = network.padding_multiple, network.backbone.strides[0]
    height, width = 2 * multiple, 3 * multiple
    output = network(torch.randn(2, 3, height, width))
    assert output.logits.shape == (2, 5, height // stride, width // stride)
    assert output.aux_logits is None
    assert output.embeddings is not None
    assert output.embeddings.shape == (2, 6, height // stride, width // stride)
    torch.testing.assert_close(output.embeddings.norm(dim=1), torch.ones(2, height // stride, width // stride))

    # Against random weights: sums alone would be constant behind a norm.
    loss = (output.logits * torch.rand_like(output.logits)).sum()
    loss = loss + (output.embeddings * torch.rand_like(output.embeddings)).sum()
    loss.backward()
    without = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0.0]
    assert without == []


@pytest.mark.parametrize("name", BACKBONES)
def test_the_seed_decides_the_weights_and_the_global_state_stays(name: str) -> None:
    config = ModelConfig(backbone=name, head_channels=8)
    torch.manual_seed(5)
    expected_draw = torch.rand(3)
    torch.manual_seed(5)
    first = build_model(config, num_classes=3, proj_dim=4, seed=0)
    assert torch.equal(torch.rand(3), expected_draw)
    assert_same(first, build_model(config, num_classes=3, proj_dim=4, seed=0))
    other = build_model(config, num_classes=3, proj_dim=4, seed=1)
    assert not torch.equal(first.head[0].weight, other.head[0].weight)


def test_backbone_and_head_start_the_same_with_and_without_a_projection_head() -> None:
    with_projection = build_model(TINY, num_classes=3, proj_dim=4, seed=0)
    without = build_model(TINY, num_classes=3, proj_dim=None, seed=0)
    assert without.projection is None
    shared = without.state_dict()
    assert any(key.startswith("backbone.") for key in shared)
    assert any(key.startswith("head.") for key in shared)
    for key, tensor in shared.items():
        assert torch.equal(tensor, with_projection.state_dict()[key]), key


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
    assert wide.head[0].weight.shape == (channels, channels, 3, 3)
    assert build_model(TINY, num_classes=3, proj_dim=None, seed=0).head[0].weight.shape == (8, channels, 3, 3)


def test_dropout_takes_whole_channels() -> None:
    head = FCNHead([4], 64, num_classes=1, dropout=0.5).train()
    torch.manual_seed(0)
    seen: list[torch.Tensor] = []
    head[3].register_forward_hook(lambda _module, _args, out: seen.append(out))
    head([torch.randn(2, 4, 6, 6)])
    dropped = (seen[0] == 0).flatten(2).all(dim=2).float().mean().item()
    assert 0.3 < dropped < 0.7
    head.eval()([torch.randn(2, 4, 6, 6)])
    assert not (seen[1] == 0).flatten(2).all(dim=2).any()


def test_maps_are_upsampled_to_the_finest_map() -> None:
    fine, coarse = torch.randn(2, 3, 4, 6), torch.arange(2.0).view(1, 1, 1, 2).expand(2, 1, 2, 2)
    joined = concat_maps([fine, coarse])
    assert torch.equal(joined[:, :3], fine)
    # Bilinear without aligned corners: sample centres of 6 pixels over 2.
    torch.testing.assert_close(joined[0, 3, 0], torch.tensor([0.0, 0.0, 1 / 3, 2 / 3, 1.0, 1.0]))


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
    with pytest.raises(AssertionError):  # the step changed something, batch norm statistics included
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
