"""Scores of class predictions, computed from a confusion matrix."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables import devices
from trainables.config import IGNORE_INDEX

ClassIndices = Tensor | NDArray[np.integer]


class ConfusionMatrix:
    """Pixel counts for each pair of labelled and predicted class, over all updates."""

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        """Create an empty matrix. Pixels labelled `ignore_index` are not counted, whatever is predicted there."""
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), dtype=np.int64)
        self._unread: list[Tensor] = []
        """(B * K * K,) int64 counts of images that are still on an accelerator."""
        self._bounds: list[tuple[Tensor, str]] = []
        """Lowest and highest value of what is still there, with its name."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K, K) number of pixels of the row's class that were predicted as the column's class.

        Raises:
            ValueError: as in `update`, of updates on an accelerator.
        """
        self._read()
        return self._counts

    def update(self, prediction: ClassIndices, label: ClassIndices) -> None:
        """Count pixels of class indices of any equal shape: labels in [0, K) or ignore_index, predictions in [0, K).

        Predictions on an accelerator are counted there, and the counts are read only when they are needed.

        Raises:
            ValueError: the shapes differ, or a counted pixel has another value. The values on an accelerator are
                checked when they are read.
        """
        prediction, label = _same_shape(prediction, label)
        self._count(prediction.flatten()[None], label.flatten()[None])

    def iou(self) -> NDArray[np.float64]:
        """Return the intersection over union of each class, (K,); NaN for a class in neither label nor prediction."""
        counts = self.counts
        hit = np.diag(counts)
        union = counts.sum(axis=0) + counts.sum(axis=1) - hit
        iou = np.full(self.num_classes, np.nan)
        np.divide(hit, union, out=iou, where=union > 0)
        return iou

    def miou(self) -> np.float64:
        """Return the mean IoU over the classes that occur; NaN before the first counted pixel."""
        iou = self.iou()
        present = iou[~np.isnan(iou)]
        return np.float64(present.mean() if present.size else np.nan)

    def pixel_accuracy(self) -> np.float64:
        """Return the fraction of the counted pixels that are predicted correctly; NaN before the first one."""
        total = self.counts.sum()
        return np.float64(np.trace(self.counts) / total if total else np.nan)

    def _count(self, prediction: Tensor, label: Tensor) -> None:
        """Count the pixels of each image by itself, for predictions and labels (B, pixels)."""
        label = _on_device(label, prediction.device)
        # Ignored pixels are counted in the first cell and then subtracted, which is much cheaper than selecting the
        # others.
        ignored = label == self.ignore_index
        rows = label.to(torch.int64, copy=True).masked_fill_(ignored, 0)
        columns = prediction.long().masked_fill(ignored, 0)
        if rows.numel():
            for values, what in ((rows, "label"), (columns, "prediction")):
                self._bounds.append((torch.stack(torch.aminmax(values)), what))
        num_images, num_cells = len(label), self.num_classes**2
        if devices.reading_is_free(rows):
            self._check_bounds(self._bounds)
        else:
            rows, columns = (values.clamp(0, self.num_classes - 1) for values in (rows, columns))
        cells = rows.mul_(self.num_classes).add_(columns)
        cells += num_cells * torch.arange(num_images, device=cells.device)[:, None]
        cells = cells.flatten()
        if devices.reading_is_free(cells):
            counts = torch.bincount(cells, minlength=num_images * num_cells)
        else:  # bincount would make an accelerator wait
            counts = cells.new_zeros(num_images * num_cells).scatter_add_(0, cells, torch.ones_like(cells))
        counts.view(num_images, num_cells)[:, 0] -= ignored.sum(dim=1)
        self._unread.append(counts)
        if devices.reading_is_free(counts):
            self._read()

    def _read(self) -> None:
        """Read all counts that are still on an accelerator, at once."""
        if not self._unread:
            return
        sizes = [len(counts) for counts in self._unread] + [2] * len(self._bounds)
        numbers = torch.cat([*self._unread, *(bounds for bounds, _ in self._bounds)]).cpu()
        parts = torch.split(numbers, sizes)
        counts = torch.cat(parts[: len(self._unread)]).view(-1, self.num_classes, self.num_classes)
        bounds = list(zip(parts[len(self._unread) :], (what for _, what in self._bounds), strict=True))
        self._unread, self._bounds = [], []
        self._check_bounds(bounds)
        self._take(counts.numpy())

    def _take(self, counts: NDArray[np.int64]) -> None:
        """Add the counts of images, (B, K, K)."""
        self._counts += counts.sum(axis=0)

    def _check_bounds(self, bounds: Sequence[tuple[Tensor, str]]) -> None:
        for values, what in bounds:
            lowest, highest = values.tolist()
            if lowest < 0 or highest >= self.num_classes:
                self._unread, self._bounds = [], []
                wrong = lowest if lowest < 0 else highest
                also = f" or {self.ignore_index} (ignore)" if what == "label" else ""
                raise ValueError(f"{what} {wrong} is not a class: {what}s must lie in [0, {self.num_classes}){also}")


class ImageConfusion(ConfusionMatrix):
    """A confusion matrix that can also draw the mIoU of resampled images.

    This is the bootstrap (Efron, Annals of Statistics, 1979) over images. Each draw takes as many images as there are,
    with replacement, and computes the mIoU over their pixels. Images without a labelled pixel are never drawn. The
    draws depend only on the number of the other images, so two networks that are scored on the same images get the same
    draws. The standard deviation of the difference of their scores, draw by draw, is therefore the noise of the
    difference. It is smaller than the noise of either score, because an image that is hard for one network is hard for
    the other. Images are taken to be independent; if they are frames of few clips, the true noise is larger.
    """

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__(num_classes, ignore_index)
        self._hits: list[NDArray[np.int64]] = []
        self._unions: list[NDArray[np.int64]] = []

    def update(self, prediction: ClassIndices, label: ClassIndices) -> None:
        """Count the pixels of images (B, ...), with values as in `ConfusionMatrix.update`."""
        prediction, label = _same_shape(prediction, label)
        self._count(prediction.flatten(1), label.flatten(1))

    def _take(self, counts: NDArray[np.int64]) -> None:
        super()._take(counts)
        hits = np.diagonal(counts, axis1=1, axis2=2)
        self._hits.append(hits)
        self._unions.append(counts.sum(axis=1) + counts.sum(axis=2) - hits)

    def miou_draws(self, num_draws: int) -> NDArray[np.float64]:
        """Return the mIoU over bootstrap draws of the images, (num_draws,) float64; NaN if no pixel counts."""
        self._read()
        hits, unions = np.concatenate(self._hits), np.concatenate(self._unions)
        return bootstrap_miou(hits, unions, num_draws)


def bootstrap_miou(hits: NDArray[np.int64], unions: NDArray[np.int64], num_draws: int) -> NDArray[np.float64]:
    """Compute the mIoU over draws of images, (num_draws,) float64, from the (N, K) hits and unions of each image.

    An image without a labelled pixel, whose unions are all 0, is not drawn: a draw of only such images would have no
    mIoU. The result is NaN if there is no other image.
    """
    counts = unions.any(axis=1)
    hits, unions = hits[counts], unions[counts]
    num_images = len(hits)
    if num_images == 0:
        return np.full(num_draws, np.nan)
    # The number of times that each image is in a draw, as floats: these are exact, and multiply much faster than
    # integers.
    times = np.random.default_rng(0).multinomial(num_images, np.full(num_images, 1 / num_images), num_draws) * 1.0
    drawn_hits, drawn_unions = times @ hits, times @ unions
    iou = np.full(drawn_hits.shape, np.nan)
    np.divide(drawn_hits, drawn_unions, out=iou, where=drawn_unions > 0)
    num_present = (drawn_unions > 0).sum(axis=1)
    miou: NDArray[np.float64] = np.nansum(iou, axis=1) / num_present
    return miou


def _on_device(label: Tensor, device: torch.device) -> Tensor:
    if label.is_cpu and device.type == "cuda":
        return label.pin_memory().to(device, non_blocking=True)
    return label.to(device, non_blocking=True)


def _same_shape(prediction: ClassIndices, label: ClassIndices) -> tuple[Tensor, Tensor]:
    prediction, label = _as_tensor(prediction), _as_tensor(label)
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} must have the same shape"
        )
    return prediction, label


def _as_tensor(indices: ClassIndices) -> Tensor:
    if not isinstance(indices, Tensor):
        indices = torch.from_numpy(np.array(indices))  # a copy, because torch warns about read-only arrays
    if indices.is_floating_point():
        raise ValueError(f"class indices must be integers, not {indices.dtype}: take the argmax of scores first")
    return indices
