"""The contrast loss of a training step: choose anchors, collect keys, compare."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import ContrastConfig
from trainables.losses.anchor_sampling import sample_anchors, sample_pool
from trainables.losses.gather import gather_pixels
from trainables.losses.memory_bank import MemoryBank
from trainables.losses.pixel_contrast import PairLimits, pixel_contrast_loss

LIMITS = (
    "max_samples",
    "max_views",
    "min_pixels",
    "replacement",
    "max_keys",
    "memory_size",
    "max_positives",
    "negative_ratio",
)
"""Settings that may have no effect, depending on the batches."""


class ContrastTerm(NamedTuple):
    """Contrast loss of one batch."""

    loss: Tensor
    """float32 scalar, not yet multiplied by `config.loss_weight`."""
    num_anchors: Tensor
    """Number of anchors, with repeated ones counted each time, an int64 scalar. If it is 0, the loss is a
    differentiable 0.
    """
    num_groups: Tensor
    """Number of (image, class) groups that gave anchors, an int64 scalar."""
    took_effect: dict[str, Tensor]
    """Whether a setting in `LIMITS` had an effect, bool scalars. Without those that are False or missing, the loss
    would be the same.
    """


class PixelContrast(nn.Module):
    """Pixel contrast between the anchors of a batch and their keys.

    The keys are the anchors themselves, other random pixels of the batch up to `config.max_keys` keys in all, and, with
    `config.memory`, the rows of a bank of earlier images. Anchors and pixels of the batch receive a gradient; rows of
    the bank do not.
    """

    def __init__(self, config: ContrastConfig, num_classes: int) -> None:
        """Build the loss for `num_classes` classes, K, that the network distinguishes."""
        super().__init__()
        self.config = config
        self.bank = MemoryBank(config, num_classes) if config.memory else None

    def forward(self, embeddings: Tensor, logits: Tensor, labels: Tensor, generator: torch.Generator) -> ContrastTerm:
        """Return the contrast loss, and add the batch to the memory bank afterwards.

        Args:
            embeddings: (B, D, h, w) float, L2-normalised along D.
            logits: (B, K, h', w') float at any resolution; their argmax decides which pixels are hard.
            labels: (B, H, W) int64 in [0, K), or 255, which is ignored.
            generator: The only source of randomness; on the CPU or on the embeddings' device.
        """
        size = embeddings.shape[-2:]
        labels = _resize_nearest(labels, size)
        predictions = _resize_nearest(logits.detach().argmax(1), size)
        chosen = sample_anchors(self.config, labels.flatten(1), predictions.flatten(1), generator)

        pool, pool_labels = sample_pool(
            labels.flatten(), chosen.positions, chosen.labels, self.config.max_keys, generator
        )
        rows = gather_pixels(embeddings, torch.cat([chosen.positions, pool]) if len(pool) else chosen.positions)
        row_labels = torch.cat([chosen.labels, pool_labels]) if len(pool) else chosen.labels
        memory = () if self.bank is None else self.bank.queues()
        loss = pixel_contrast_loss(
            rows[: len(chosen.labels)] if len(pool) else rows,
            chosen.labels,
            rows,
            row_labels,
            temperature=self.config.temperature,
            base_temperature=self.config.base_temperature,
            keys_are_anchors=True,
            memory=memory,
            max_positives=self.config.max_positives,
            negative_ratio=self.config.negative_ratio,
            generator=generator,
        )
        limits = PairLimits(self.config.max_positives, self.config.negative_ratio)
        all_labels = torch.cat([row_labels, *(of_queue for _, of_queue in memory)])
        took_effect = chosen.took_effect | limits.binding(chosen.labels, all_labels, keys_are_anchors=True)
        took_effect["max_keys"] = (pool_labels >= 0).any()
        if self.bank is not None:
            self.bank.update(embeddings.detach(), labels, generator)
            took_effect["memory_size"] = self.bank.has_overwritten()
        return ContrastTerm(loss, (chosen.labels >= 0).sum(), chosen.num_groups, took_effect)


def _resize_nearest(classes: Tensor, size: torch.Size) -> Tensor:
    """Resize class indices (B, H, W) int64 in [0, 255] to `size` by nearest neighbour."""
    if classes.shape[-2:] == size:
        return classes
    return F.interpolate(classes.unsqueeze(1).to(torch.uint8), size, mode="nearest").squeeze(1).long()
