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
        prediction, label = _as_tensor(prediction), _as_tensor(label)
        if prediction.shape != label.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} must be of one shape"
            )
        label = label.to(prediction.device)
        # Ignored pixels go to the first cell and are taken out of it again: far cheaper than selecting the others.
        ignored = label == self.ignore_index
        rows = label.to(torch.int64, copy=True).masked_fill_(ignored, 0)
        columns = prediction.long().masked_fill(ignored, 0)
        self._check(rows, "label", f" or {self.ignore_index} (ignore)")
        self._check(columns, "prediction", "")
        cells = rows.mul_(self.num_classes).add_(columns)
        counts = torch.bincount(cells.flatten(), minlength=self.num_classes**2)
        counts[0] -= ignored.sum()
        self.counts += counts.reshape(self.num_classes, self.num_classes).cpu().numpy()

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

    def _check(self, values: Tensor, what: str, also: str) -> None:
        if not values.numel():
            return
        lowest, highest = (int(bound) for bound in torch.aminmax(values))
        if lowest < 0 or highest >= self.num_classes:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(f"{what} {wrong} is no class: {what}s must lie in [0, {self.num_classes}){also}")


def _as_tensor(indices: ClassIndices) -> Tensor:
    if not isinstance(indices, Tensor):
        indices = torch.from_numpy(np.array(indices))  # a copy: torch warns of arrays that are read-only
    if indices.is_floating_point():
        raise ValueError(f"class indices must be integers, not {indices.dtype}: take the argmax of scores first")
    return indices
