"""Tokens-to-Token ViT (Yuan et al., ICCV 2021, arXiv 2101.11986) as a source of feature maps.

Modules have the names that they have in the published checkpoints. Position embedding and random features are
parameters there, but are not trained. Shapes: B images, N tokens, C channels, h x w the token grid.
"""

import math
from typing import NamedTuple

import torch
from timm.layers import resample_abs_pos_embed
from timm.models import FeatureInfo
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F


class Variant(NamedTuple):
    """The deep-narrow trunk of one published network (tab. 2)."""

    dim: int
    depth: int
    num_heads: int


VARIANTS = {
    "t2t_vit_14": Variant(dim=384, depth=14, num_heads=6),
    "t2t_vit_19": Variant(dim=448, depth=19, num_heads=7),
    "t2t_vit_24": Variant(dim=512, depth=24, num_heads=8),
}

STRIDE = 16
_TOKEN_DIM = 64
_MLP_RATIO = 3.0
_GRID = 14  # tokens per side of the 224 x 224 images that the networks were trained on


class T2TViT(nn.Module):
    """The network without its classifier. It returns one map of stride 16."""

    def __init__(self, variant: Variant) -> None:
        """Build a network with random weights."""
        super().__init__()
        self.feature_info = FeatureInfo([{"num_chs": variant.dim, "reduction": STRIDE, "module": "norm"}], (0,))
        self.tokens_to_token = TokensToToken(variant.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, variant.dim))
        self.pos_embed = nn.Parameter(sinusoids(1 + _GRID * _GRID, variant.dim)[None], requires_grad=False)
        self.blocks = nn.Sequential(
            *(
                Block(variant.dim, variant.num_heads, mlp_ratio=_MLP_RATIO, norm_layer=nn.LayerNorm)
                for _ in range(variant.depth)
            )
        )
        self.norm = nn.LayerNorm(variant.dim)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(_init_linear)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map (B, dim, H / 16, W / 16) for images (B, 3, H, W) whose sides are multiples of 16."""
        height, width = images.shape[-2] // STRIDE, images.shape[-1] // STRIDE
        tokens = self.tokens_to_token(images)
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + resample_abs_pos_embed(self.pos_embed, [height, width])
        tokens = self.norm(self.blocks(tokens))
        return [tokens[:, 1:].transpose(1, 2).unflatten(2, (height, width))]


class TokensToToken(nn.Module):
    """Conversion of images to tokens in three soft splits, with attention among the tokens in between (sec. 3.1)."""

    def __init__(self, dim: int) -> None:
        """Build a module whose tokens have `dim` channels."""
        super().__init__()
        self.attention1 = TokenPerformer(3 * 7 * 7, _TOKEN_DIM)
        self.attention2 = TokenPerformer(_TOKEN_DIM * 3 * 3, _TOKEN_DIM)
        self.project = nn.Linear(_TOKEN_DIM * 3 * 3, dim)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, H / 16 * W / 16, dim) tokens, row by row, for images (B, 3, H, W)."""
        height, width = images.shape[-2:]
        tokens = self.attention1(soft_split(images, kernel_size=7, stride=4))
        tokens = tokens.transpose(1, 2).unflatten(2, (height // 4, width // 4))
        tokens = self.attention2(soft_split(tokens, kernel_size=3, stride=2))
        tokens = tokens.transpose(1, 2).unflatten(2, (height // 8, width // 8))
        out: Tensor = self.project(soft_split(tokens, kernel_size=3, stride=2))
        return out


class TokenPerformer(nn.Module):
    """A transformer layer with one head whose cost is linear in the number of tokens: FAVOR+ (arXiv 2009.14794).

    The softmax kernel exp(q . k) is estimated as phi(q) . phi(k) with positive random features phi(x) = exp(w x - |x|^2
    / 2) / sqrt(m). The m rows of w are orthogonal and are never trained. Their length is sqrt(m), as published,
    although an unbiased estimate would need the length of normal vectors.
    """

    def __init__(self, in_dim: int, dim: int) -> None:
        """Build a layer that maps tokens of `in_dim` channels to tokens of `dim` channels."""
        super().__init__()
        num_features = dim // 2
        self.norm1 = nn.LayerNorm(in_dim)
        self.kqv = nn.Linear(in_dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        random_rows = nn.init.orthogonal_(torch.empty(num_features, dim)) * math.sqrt(num_features)
        self.w = nn.Parameter(random_rows, requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, N, dim) for tokens (B, N, in_dim).

        The residual connection adds the values, not the tokens, to the result of the attention.
        """
        keys, queries, values = self.kqv(self.norm1(tokens)).chunk(3, dim=-1)
        tokens = values + self.proj(self._attend(queries, keys, values))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        with torch.autocast(queries.device.type, enabled=False):  # exponentials and sums over all tokens need float32
            phi_queries, phi_keys = self._random_features(queries), self._random_features(keys)
            found = phi_queries @ (phi_keys.transpose(1, 2) @ values.to(self.w.dtype))
            total = phi_queries @ phi_keys.sum(dim=1)[..., None]
            return found / (total + 1e-8)

    def _random_features(self, x: Tensor) -> Tensor:
        x = x.to(self.w.dtype)
        return torch.exp(x @ self.w.T - x.square().sum(dim=-1, keepdim=True) / 2) / math.sqrt(len(self.w))


def soft_split(maps: Tensor, *, kernel_size: int, stride: int) -> Tensor:
    """Return tokens from overlapping windows, (B, N, C * kernel_size^2), for maps (B, C, h, w) (eq. 3).

    There is one token per stride, row by row. A window that extends beyond the edge sees zeros there.
    """
    return F.unfold(maps, kernel_size, stride=stride, padding=(kernel_size - stride + 1) // 2).transpose(1, 2)


def sinusoids(num_positions: int, dim: int) -> Tensor:
    """Return the position embedding (num_positions, dim): sines and cosines in turn (arXiv 1706.03762, sec. 3.5)."""
    positions = torch.arange(num_positions, dtype=torch.float64)[:, None]
    frequencies = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = positions * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
