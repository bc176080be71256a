"""Scores of class predictions, from one confusion matrix."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.config import IGNORE_INDEX

ClassIndices = Tensor | NDArray[np.integer]


class ConfusionMatrix:
    """Pixel counts of every pair of labelled and predicted class, over all updates."""

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        """Pixels labelled `ignore_index` are not counted, whatever is predicted there."""
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), dtype=np.int64)
        """(K, K): pixels of the row's class that were predicted as the column's class."""

    def update(self, prediction: ClassIndices, label: ClassIndices) -> None:
        """Count pixels: class indices of any equal shape, labels in [0, K) or ignore_index, predictions in [0, K).

        Raises:
            ValueError: the shapes differ, or a counted pixel has another value.
        """
        prediction, label = _same_shape(prediction, label)
        self.counts += self._image_counts(prediction.flatten()[None], label.flatten()[None])[0]

    def iou(self) -> NDArray[np.float64]:
        """(K,) intersection over union of every class; NaN where neither label nor prediction has it."""
        hit = np.diag(self.counts)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - hit
        iou = np.full(self.num_classes, np.nan)
        np.divide(hit, union, out=iou, where=union > 0)
        return iou

    def miou(self) -> np.float64:
        """Mean IoU over the classes that label or prediction has; NaN before the first counted pixel."""
        iou = self.iou()
        present = iou[~np.isnan(iou)]
        return np.float64(present.mean() if present.size else np.nan)

    def pixel_accuracy(self) -> np.float64:
        """Fraction of the counted pixels that are predicted right; NaN before the first one."""
        total = self.counts.sum()
        return np.float64(np.trace(self.counts) / total if total else np.nan)

    def _image_counts(self, prediction: Tensor, label: Tensor) -> NDArray[np.int64]:
        """Counts of every image by itself: (B, K, K) of predictions and labels (B, pixels)."""
        label = label.to(prediction.device)
        # Ignored pixels go to the first cell and are taken out of it again: far cheaper than selecting the others.
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
            raise ValueError(f"{what} {wrong} is no class: {what}s must lie in [0, {self.num_classes}){also}")


class ImageConfusion(ConfusionMatrix):
    """A confusion matrix that also knows what its mIoU would be over other draws of the same images.

    The bootstrap (Efron, Annals of Statistics, 1979) over images: as many images are drawn with replacement as there
    are, and the mIoU over their pixels is one draw of the score. Images without a labelled pixel are never drawn. The
    draws depend on the number of the other images and nothing else, so two networks scored on the same images meet the
    same draws: the standard deviation of the differences of their scores, draw by draw, is the noise of the
    difference, which is smaller than that of either score, since an image that is hard for one network is hard for the
    other. Images are taken to be independent; where they are frames of few clips, the true noise is larger.
    """

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__(num_classes, ignore_index)
        self._hits: list[NDArray[np.int64]] = []
        self._unions: list[NDArray[np.int64]] = []

    def update(self, prediction: ClassIndices, label: ClassIndices) -> None:
        """Count the pixels of images (B, ...); values as in `ConfusionMatrix.update`."""
        prediction, label = _same_shape(prediction, label)
        counts = self._image_counts(prediction.flatten(1), label.flatten(1))
        self.counts += counts.sum(axis=0)
        hits = np.diagonal(counts, axis1=1, axis2=2)
        self._hits.append(hits)
        self._unions.append(counts.sum(axis=1) + counts.sum(axis=2) - hits)

    def miou_draws(self, num_draws: int) -> NDArray[np.float64]:
        """The mIoU over bootstrap draws of the images: (num_draws,) float64; NaN where no pixel counts."""
        hits, unions = np.concatenate(self._hits), np.concatenate(self._unions)
        return bootstrap_miou(hits, unions, num_draws)


def bootstrap_miou(hits: NDArray[np.int64], unions: NDArray[np.int64], num_draws: int) -> NDArray[np.float64]:
    """Compute the mIoU over draws of images, (num_draws,) float64, from intersections and unions (N, K) of every image.

    An image without a labelled pixel, whose unions are all 0, is not drawn: a draw of nothing else would have no mIoU.
    NaN where there is no other image.
    """
    counts = unions.any(axis=1)
    hits, unions = hits[counts], unions[counts]
    num_images = len(hits)
    if num_images == 0:
        return np.full(num_draws, np.nan)
    # Times that every image is in a draw, as floats: exact, and many times faster to multiply than integers.
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
        raise ValueError(f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} must be of one shape")
    return prediction, label


def _as_tensor(indices: ClassIndices) -> Tensor:
    if not isinstance(indices, Tensor):
        indices = torch.from_numpy(np.array(indices))  # a copy: torch warns of arrays that are read-only
    if indices.is_floating_point():
        raise ValueError(f"class indices must be integers, not {indices.dtype}: take the argmax of scores first")
    return indices
