"""The contrast term of a training step: choose anchors, gather keys, compare."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import ContrastConfig
from trainables.losses.anchor_sampling import sample_anchors
from trainables.losses.memory_bank import MemoryBank
from trainables.losses.pixel_contrast import pixel_contrast_loss


class ContrastTerm(NamedTuple):
    """The contrast of one batch."""

    loss: Tensor
    """float32 scalar, not yet multiplied by `config.loss_weight`."""
    num_anchors: int
    """Number of anchors; with 0 the loss is a differentiable 0."""
    num_groups: int
    """Number of (image, class) groups that gave anchors."""


class PixelContrast(nn.Module):
    """Pixel contrast of a batch with itself and, with `config.memory`, with a bank of earlier images."""

    def __init__(self, config: ContrastConfig, num_classes: int) -> None:
        """`num_classes`: K, the classes the network tells apart."""
        super().__init__()
        self.config = config
        self.bank = MemoryBank(config, num_classes) if config.memory else None

    def forward(self, embeddings: Tensor, logits: Tensor, labels: Tensor, generator: torch.Generator) -> ContrastTerm:
        """The contrast term; afterwards the batch is in the memory bank.

        Args:
            embeddings: (B, D, h, w) float, L2-normalised along D.
            logits: (B, K, h', w') float at any resolution; their argmax tells hard pixels from easy ones.
            labels: (B, H, W) int64 in [0, K), or 255, which is ignored.
            generator: the only source of randomness; on the CPU or on the embeddings' device.
        """
        size = embeddings.shape[-2:]
        labels = _resize_nearest(labels, size)
        predictions = _resize_nearest(logits.detach().argmax(1), size)
        chosen = sample_anchors(self.config, labels.flatten(1), predictions.flatten(1), generator)

        image, pixel = chosen.positions // size.numel(), chosen.positions % size.numel()
        anchors = embeddings.flatten(2)[image, :, pixel]
        keys, key_labels = anchors, chosen.labels
        if self.bank is not None:
            bank_keys, bank_labels = self.bank.keys()
            keys, key_labels = torch.cat([keys, bank_keys]), torch.cat([key_labels, bank_labels])
        loss = pixel_contrast_loss(
            anchors,
            chosen.labels,
            keys,
            key_labels,
            temperature=self.config.temperature,
            base_temperature=self.config.base_temperature,
            keys_are_anchors=True,
        )
        if self.bank is not None:
            self.bank.update(embeddings.detach(), labels, generator)
        return ContrastTerm(loss, len(chosen.positions), chosen.num_groups)


def _resize_nearest(classes: Tensor, size: torch.Size) -> Tensor:
    """Class indices (B, H, W) int64 in [0, 255], nearest-resized to `size`."""
    if classes.shape[-2:] == size:
        return classes
    return F.interpolate(classes.unsqueeze(1).to(torch.uint8), size, mode="nearest").squeeze(1).long()
