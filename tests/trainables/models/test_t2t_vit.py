"""Tests of T2T-ViT against its parts written by hand, and against its published size and names."""

import math
import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.models.t2t_vit import VARIANTS, T2TViT, TokenPerformer, Variant, sinusoids, soft_split

TINY = Variant(dim=32, depth=2, num_heads=2)


def tiny(seed: int = 0) -> T2TViT:
    torch.manual_seed(seed)
    return T2TViT(TINY).eval()


@pytest.mark.parametrize(("name", "millions"), [("t2t_vit_14", 21.5), ("t2t_vit_19", 39.2), ("t2t_vit_24", 64.1)])
def test_has_the_published_size(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = T2TViT(VARIANTS[name])
        classifier = torch.nn.Linear(VARIANTS[name].dim, 1000)
    count = sum(p.numel() for module in (network, classifier) for p in module.parameters())
    assert round(count / 1e6, 1) == millions


def test_has_the_published_names() -> None:
    keys = {re.sub(r"blocks\.\d+", "blocks.N", key) for key in tiny().state_dict()}
    layer = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]
    performer = [*layer, "w", "kqv.weight", "kqv.bias", "proj.weight", "proj.bias"]
    performer += ["mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"]
    block = [*layer, "attn.qkv.weight", "attn.proj.weight", "attn.proj.bias"]
    block += ["mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"]
    assert keys == {
        "cls_token",
        "pos_embed",
        "norm.weight",
        "norm.bias",
        "tokens_to_token.project.weight",
        "tokens_to_token.project.bias",
        *(f"tokens_to_token.attention{i}.{key}" for i in (1, 2) for key in performer),
        *(f"blocks.N.{key}" for key in block),
    }


def test_shapes_of_the_trunk_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        state = T2TViT(VARIANTS["t2t_vit_14"]).state_dict()
    assert state["tokens_to_token.attention1.kqv.weight"].shape == (192, 147)
    assert state["tokens_to_token.attention2.kqv.weight"].shape == (192, 576)
    assert state["tokens_to_token.attention1.w"].shape == (32, 64)
    assert state["tokens_to_token.project.weight"].shape == (384, 576)
    assert state["pos_embed"].shape == (1, 197, 384)
    assert state["blocks.13.mlp.fc1.weight"].shape == (1152, 384)
    assert "blocks.14.norm1.weight" not in state


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(7, 4, 2), (3, 2, 1)])
def test_soft_split_cuts_overlapping_windows(kernel_size: int, stride: int, padding: int) -> None:
    maps = torch.randn(2, 3, 8, 12)
    tokens = soft_split(maps, kernel_size=kernel_size, stride=stride)
    rows, columns = 8 // stride, 12 // stride
    assert tokens.shape == (2, rows * columns, 3 * kernel_size**2)
    padded = F.pad(maps, (padding, padding, padding, padding))
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride, column * stride
            window = padded[:, :, top : top + kernel_size, left : left + kernel_size]
            assert torch.equal(tokens[:, row * columns + column], window.flatten(1))


def test_performer_follows_its_definition() -> None:
    torch.manual_seed(0)
    layer = TokenPerformer(10, 6).double().eval()
    tokens = torch.randn(2, 5, 10, dtype=torch.float64)
    normed = F.layer_norm(tokens, (10,))
    keys, queries, values = (normed @ layer.kqv.weight.T + layer.kqv.bias).split(6, dim=-1)

    def phi(x: Tensor) -> Tensor:
        return torch.exp(x @ layer.w.T - (x * x).sum(-1, keepdim=True) / 2) / math.sqrt(3)

    kernel = torch.einsum("bnm,bkm->bnk", phi(queries), phi(keys))
    found = torch.einsum("bnk,bkd->bnd", kernel / kernel.sum(dim=-1, keepdim=True), values)
    joined = values + layer.proj(found)
    expected = joined + layer.mlp(F.layer_norm(joined, (6,)))
    torch.testing.assert_close(layer(tokens), expected, rtol=1e-6, atol=1e-6)


def test_random_features_are_orthogonal_and_not_trained() -> None:
    torch.manual_seed(0)
    layer = TokenPerformer(10, 64)
    torch.testing.assert_close(layer.w @ layer.w.T, 32.0 * torch.eye(32), rtol=1e-4, atol=1e-3)
    assert not layer.w.requires_grad
    assert not tiny().pos_embed.requires_grad


def test_sinusoids_are_those_of_the_definition() -> None:
    table = sinusoids(5, 6)
    for position in range(5):
        for i in range(6):
            angle = position / 10000 ** (2 * (i // 2) / 6)
            expected = math.sin(angle) if i % 2 == 0 else math.cos(angle)
            assert table[position, i].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 80), (224, 224), (256, 32)])
def test_gives_one_map_of_stride_16_for_any_size(height: int, width: int) -> None:
    with torch.inference_mode():
        (features,) = tiny()(torch.randn(2, 3, height, width))
    assert features.shape == (2, 32, height // 16, width // 16)


def test_tokens_lie_where_they_come_from() -> None:
    network = tiny()
    with torch.no_grad():  # without attention, the rest is local
        for i in range(len(network.blocks)):
            network.get_parameter(f"blocks.{i}.attn.proj.weight").zero_()
        for layer in (network.tokens_to_token.attention1, network.tokens_to_token.attention2):
            layer.proj.weight.zero_()
        images = torch.randn(1, 3, 64, 96)
        (before,) = network(images)
        images[:, :, 40, 72] += 1.0  # row 2 and column 4 of the grid
        (after,) = network(images)
    moved = (before != after).any(dim=1)[0].nonzero()
    assert [2, 4] in moved.tolist()
    assert (moved - torch.tensor([2, 4])).abs().max() <= 1


def test_position_embedding_enters_at_the_size_it_was_made_for_as_it_is() -> None:
    network = tiny()
    entered: list[Tensor] = []
    network.blocks.register_forward_pre_hook(lambda _module, args: entered.append(args[0]))
    with torch.inference_mode():
        images = torch.randn(1, 3, 224, 224)
        network(images)
        tokens = torch.cat([network.cls_token, network.tokens_to_token(images)], dim=1)
    torch.testing.assert_close(entered[0] - tokens, network.pos_embed.data)


def test_attends_in_float32_under_autocast() -> None:
    layer = TokenPerformer(10, 6).eval()
    seen: list[torch.dtype] = []
    attend = layer._attend
    layer._attend = lambda *args: (out := attend(*args), seen.append(out.dtype))[0]  # type: ignore[method-assign]
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(1, 5, 10))
    assert seen == [torch.float32]
    assert out.isfinite().all()
