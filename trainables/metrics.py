"""Scores of class predictions, computed from a confusion matrix."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.config import IGNORE_INDEX

ClassIndices = Tensor | NDArray[np.integer]


class ConfusionMatrix:
    """Pixel counts for each pair of labelled and predicted class, over all updates."""

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        """Create an empty matrix. Pixels labelled `ignore_index` are not counted, whatever is predicted there."""
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), dtype=np.int64)
        """(K, K) number of pixels of the row's class that were predicted as the column's class."""

    def update(self, prediction: ClassIndices, label: ClassIndices) -> None:
        """Count pixels of class indices of any equal shape: labels in [0, K) or ignore_index, predictions in [0, K).

        Raises:
            ValueError: the shapes differ, or a counted pixel has another value.
        """
        prediction, label = _same_shape(prediction, label)
        self.counts += self._image_counts(prediction.flatten()[None], label.flatten()[None])[0]

    def iou(self) -> NDArray[np.float64]:
        """Return the intersection over union of each class, (K,); NaN for a class in neither label nor prediction."""
        hit = np.diag(self.counts)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - hit
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

    def _image_counts(self, prediction: Tensor, label: Tensor) -> NDArray[np.int64]:
        """Return the counts of each image by itself, (B, K, K), for predictions and labels (B, pixels)."""
        label = label.to(prediction.device)
        # Ignored pixels are counted in the first cell and then subtracted, which is much cheaper than selecting the
        # others.
        ignored = label == self.ignore_index
        rows = label.to(torch.int64, copy=True).masked_fill_(ignored, 0)
        columns = prediction.long().masked_fill(ignored, 0)
        self._check(rows, "label", f" or {self.ignore_index} (ignore)")
        self._check(columns, "prediction", "")
        num_images, num_cells = len(label), self.num_classes**2
        cells = rows.mul_(self.num_classes).add_(columns)
        cells += num_cells * torch.arange(num_images, device=cells.device)[:, None]
        counts = torch.bincount(cells.flatten(), minlength=num_images * num_cells).reshape(num_images, num_cells)
        counts[:, 0] -= ignored.sum(dim=1)
        by_image: NDArray[np.int64] = counts.reshape(num_images, self.num_classes, self.num_classes).cpu().numpy()
        return by_image

    def _check(self, values: Tensor, what: str, also: str) -> None:
        if not values.numel():
            return
        lowest, highest = (int(bound) for bound in torch.aminmax(values))
        if lowest < 0 or highest >= self.num_classes:
            wrong = lowest if lowest < 0 else highest
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
        counts = self._image_counts(prediction.flatten(1), label.flatten(1))
        self.counts += counts.sum(axis=0)
        hits = np.diagonal(counts, axis1=1, axis2=2)
        self._hits.append(hits)
        self._unions.append(counts.sum(axis=1) + counts.sum(axis=2) - hits)

    def miou_draws(self, num_draws: int) -> NDArray[np.float64]:
        """Return the mIoU over bootstrap draws of the images, (num_draws,) float64; NaN if no pixel counts."""
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
