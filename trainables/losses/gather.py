"""Embeddings of chosen pixels, with a gradient that is written once."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gather_pixels(embeddings: Tensor, positions: Tensor) -> Tensor:
    """Return the embeddings (N, D) of pixels of maps (B, D, h, w), in either memory format.

    Args:
        embeddings: (B, D, h, w) float.
        positions: (N,) int64 in [0, B * h * w), indices into the flattened pixels; they may repeat.
    """
    gathered: Tensor = _GatherPixels.apply(embeddings, positions)
    return gathered


class _GatherPixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, positions: Tensor) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.like = embeddings.new_empty(0).expand(0), embeddings.shape, _is_channels_last(embeddings)
        if _is_channels_last(embeddings):
            return _rows(embeddings).index_select(0, positions)
        num_pixels = embeddings.shape[2:].numel()
        return embeddings.flatten(2)[positions // num_pixels, :, positions % num_pixels]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (positions,) = ctx.saved_tensors
        like, shape, is_channels_last = ctx.like
        if is_channels_last:
            whole = like.new_zeros(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
            _rows(whole).index_add_(0, positions, grad)
            return whole, None
        whole = like.new_zeros(shape)
        num_pixels = shape[2:].numel()
        first = positions // num_pixels * (shape[1] * num_pixels) + positions % num_pixels
        # Channel by channel, so that neighbours in memory are written one after another.
        indices = first + num_pixels * torch.arange(shape[1], device=positions.device).unsqueeze(1)
        whole.view(-1).index_add_(0, indices.view(-1), grad.T.reshape(-1))
        return whole, None


def _is_channels_last(embeddings: Tensor) -> bool:
    return embeddings.is_contiguous(memory_format=torch.channels_last)


def _rows(embeddings: Tensor) -> Tensor:
    """Return maps (B, D, h, w) in channels_last as a view (B * h * w, D)."""
    return embeddings.permute(0, 2, 3, 1).reshape(-1, embeddings.shape[1])
