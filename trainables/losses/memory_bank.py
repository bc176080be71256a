"""Memory bank: embeddings of earlier images, by class, as additional keys of the contrast loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import ContrastConfig
from trainables.losses.anchor_sampling import NUM_LABELS, rank_in_runs, shuffle_within_groups


class MemoryBank(nn.Module):
    """Two ring buffers per class: mean embeddings of segments (one class in one image), and single pixels.

    It follows the memory of Wang et al. (ICCV 2021, arXiv 2101.11939). All of it is in buffers, so `state_dict`
    contains it.
    """

    segments: Tensor
    pixels: Tensor
    segments_written: Tensor
    pixels_written: Tensor

    def __init__(self, config: ContrastConfig, num_classes: int) -> None:
        """Create an empty bank with `config.memory_size` rows of `config.proj_dim` numbers per class and queue."""
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        rows = torch.zeros(num_classes, config.memory_size, config.proj_dim)
        written = torch.zeros(num_classes, dtype=torch.int64)
        self.register_buffer("segments", rows)
        self.register_buffer("pixels", rows.clone())
        self.register_buffer("segments_written", written)
        self.register_buffer("pixels_written", written.clone())

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Store the normalised mean embedding and up to `pixel_update_freq` random pixels of each class in each image.

        Args:
            embeddings: (B, D, h, w) float, L2-normalised along D; D is `config.proj_dim`.
            labels: (B, h, w) int64 in [0, K), or 255, which is ignored; at the resolution of the embeddings.
            generator: The source of the random choice of pixels.
        """
        assert embeddings.shape[-2:] == labels.shape[-2:], "labels must be on the embeddings' own grid"
        embeddings, labels = embeddings.float().flatten(2), labels.flatten(1)

        classes = torch.arange(self.num_classes, device=labels.device)
        members = labels.unsqueeze(1) == classes.unsqueeze(1)
        with torch.autocast(embeddings.device.type, enabled=False):
            sums = members.to(embeddings.dtype) @ embeddings.transpose(1, 2)
        image, label = members.any(2).nonzero(as_tuple=True)
        _push(self.segments, self.segments_written, F.normalize(sums[image, label], dim=1), label)

        groups = torch.arange(len(labels), device=labels.device).unsqueeze(1) * NUM_LABELS + labels
        counts = torch.bincount(groups.flatten(), minlength=NUM_LABELS * len(labels))
        order, ranks = shuffle_within_groups(groups.flatten(), counts, generator)
        chosen = order[(ranks < self.config.pixel_update_freq) & (labels.flatten()[order] < self.num_classes)]
        image, pixel = chosen // labels.shape[1], chosen % labels.shape[1]
        _push(self.pixels, self.pixels_written, embeddings[image, :, pixel], labels.flatten()[chosen])

    def has_overwritten(self) -> bool:
        """Return True if a queue has ever overwritten a row; until then, the size of the bank has no effect."""
        return bool((torch.maximum(self.segments_written, self.pixels_written) > self.config.memory_size).any())

    def keys(self) -> tuple[Tensor, Tensor]:
        """Return the rows written so far, (M, D) float32, segments first, and their classes, (M,) int64."""
        slots = torch.arange(self.config.memory_size, device=self.segments.device)
        segments_filled = slots < self.segments_written.unsqueeze(1)
        pixels_filled = slots < self.pixels_written.unsqueeze(1)
        labels = torch.cat([segments_filled.nonzero()[:, 0], pixels_filled.nonzero()[:, 0]])
        return torch.cat([self.segments[segments_filled], self.pixels[pixels_filled]]), labels


def _push(queue: Tensor, written: Tensor, rows: Tensor, labels: Tensor) -> None:
    """Append rows to the queues of their classes in place, overwriting the oldest rows of a full queue.

    Args:
        queue: (K, S, D) float32.
        written: (K,) int64, number of rows ever written to each class.
        rows: (R, D) float32.
        labels: (R,) int64 in [0, K).
    """
    counts = torch.bincount(labels, minlength=len(queue))
    order = labels.argsort(stable=True)
    labels = labels[order]
    ranks = rank_in_runs(labels, counts)
    # If there are more new rows than slots, only the newest are kept, so that no slot is written twice: torch leaves
    # the result of that undefined.
    stays = ranks >= counts[labels] - queue.shape[1]
    slots = (written[labels] + ranks) % queue.shape[1]
    queue[labels[stays], slots[stays]] = rows[order[stays]]
    written += counts
