"""Memory bank: embeddings of earlier images, by class, as additional keys of the contrast loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables import devices
from trainables.config import ContrastConfig
from trainables.losses.anchor_sampling import (
    NUM_LABELS,
    chosen_first,
    count_groups,
    labels_of,
    rank_in_runs,
    shuffle_within_groups,
)
from trainables.losses.pixel_contrast import ABSENT


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
        segment_labels = torch.where(members.any(2), classes, ABSENT)
        _push(self.segments, self.segments_written, F.normalize(sums.flatten(0, 1), dim=1), segment_labels.flatten())

        groups = torch.arange(len(labels), device=labels.device).unsqueeze(1) * NUM_LABELS + labels
        counts = count_groups(groups.flatten(), NUM_LABELS * len(labels))
        order, ranks, groups = shuffle_within_groups(groups.flatten(), counts, generator)
        is_chosen = (ranks < self.config.pixel_update_freq) & (groups % NUM_LABELS < self.num_classes)
        most = min(len(order), len(labels) * self.num_classes * self.config.pixel_update_freq)
        chosen, num_chosen = chosen_first(order, is_chosen, most)
        image, pixel = chosen // labels.shape[1], chosen % labels.shape[1]
        chosen_labels = labels_of(chosen, num_chosen, labels.flatten())
        _push(self.pixels, self.pixels_written, embeddings[image, :, pixel], chosen_labels)

    def has_overwritten(self) -> Tensor:
        """Return a bool scalar: True if a queue has ever overwritten a row.

        Until then, the size of the bank has no effect.
        """
        return (torch.maximum(self.segments_written, self.pixels_written) > self.config.memory_size).any()

    def queues(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the segments and the pixels, (Q, D) float32, not copied, each with its classes, (Q,) int64.

        The class of rows that have not been written yet is `ABSENT`.
        """
        slots = torch.arange(self.config.memory_size, device=self.segments.device)
        classes = torch.arange(self.num_classes, device=self.segments.device).unsqueeze(1)
        labels = (
            torch.where(slots < written.unsqueeze(1), classes, ABSENT).flatten()
            for written in (self.segments_written, self.pixels_written)
        )
        of_segments, of_pixels = labels
        return (self.segments.flatten(0, 1), of_segments), (self.pixels.flatten(0, 1), of_pixels)


def _push(queue: Tensor, written: Tensor, rows: Tensor, labels: Tensor) -> None:
    """Append rows to the queues of their classes in place, overwriting the oldest rows of a full queue.

    Args:
        queue: (K, S, D) float32.
        written: (K,) int64, number of rows ever written to each class.
        rows: (R, D) float32.
        labels: (R,) int64 in [0, K), or `ABSENT` for a row that is left out.
    """
    num_classes, size = queue.shape[:2]
    labels = torch.where(labels >= 0, labels, num_classes)
    counts = count_groups(labels, num_classes + 1)
    labels, order = labels.sort(stable=True)
    if devices.reading_is_free(queue):
        ranks = rank_in_runs(labels, counts)
        # If there are more new rows than slots, only the newest are kept, so that no slot is written twice: torch
        # leaves the result of that undefined.
        stays = (labels < num_classes) & (ranks >= counts[labels] - size)
        labels, order, ranks = labels[stays], order[stays], ranks[stays]
        queue[labels, (written[labels] + ranks) % size] = rows[order]
    else:
        # Every slot looks for the newest of the rows that belong there, because the number of rows is not known.
        counted, starts = counts[:-1].unsqueeze(1), (counts.cumsum(0) - counts)[:-1].unsqueeze(1)
        slots = torch.arange(size, device=queue.device)
        ranks = counted - 1 - (written.unsqueeze(1) + counted - 1 - slots) % size
        newest = rows[order[(starts + ranks).clamp(0, len(order) - 1)]]
        queue.copy_(torch.where((ranks >= 0).unsqueeze(2), newest, queue))
    written += counts[:-1]
