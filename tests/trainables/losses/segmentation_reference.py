"""The segmentation losses in NumPy and float64, written from their definitions alone.

All take logits (B, K, H, W) and labels (B, H, W) of the same resolution; 255 is ignored.
"""

import math

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from trainables.config import LossConfig

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def segmentation_reference(config: LossConfig, logits: Array, labels: Labels, weights: Array) -> float:
    """Return the main term that `config.segmentation` names, with class weights (K,)."""
    match config.segmentation:
        case "ce":
            return cross_entropy(logits, labels, weights)
        case "ohem_ce":
            return ohem(logits, labels, weights, config.ohem_threshold, config.ohem_min_kept)
        case "lovasz":
            return lovasz_softmax(logits, labels)
        case "ce_lovasz":
            return cross_entropy(logits, labels, weights) + config.lovasz_coef * lovasz_softmax(logits, labels)
        case "rmi":
            share = config.rmi_weight
            return share * region_mutual_information(logits, labels) + (1 - share) * bce(logits, labels)


def cross_entropy(logits: Array, labels: Labels, weights: Array) -> float:
    probabilities, classes = _labelled(logits, labels)
    of_pixel = -np.log(probabilities[np.arange(len(classes)), classes])
    return float((weights[classes] * of_pixel).sum() / weights[classes].sum())


def ohem(logits: Array, labels: Labels, weights: Array, threshold: float, min_kept: int) -> float:
    """Return OHEM cross entropy over pixels below max(p_sorted[min_kept], threshold), if no two are equally hard."""
    probabilities, classes = _labelled(logits, labels)
    p = probabilities[np.arange(len(classes)), classes]
    limit = max(np.sort(p)[min_kept], threshold) if min_kept < len(p) else math.inf
    kept = p < limit
    return float((weights[classes] * -np.log(p))[kept].sum() / weights[classes][kept].sum())


def lovasz_softmax(logits: Array, labels: Labels) -> float:
    """Return the loss by the definition of the Lovász extension: errors weighted by the gain of the Jaccard loss."""
    probabilities, classes = _labelled(logits, labels)
    of_classes = []
    for c in sorted(set(classes.tolist())):
        truth = classes == c
        errors = np.abs(truth - probabilities[:, c])
        wrong = np.zeros(len(classes), dtype=bool)
        total, before = 0.0, 0.0
        for pixel in np.argsort(-errors):
            wrong[pixel] = True
            prediction = truth ^ wrong
            now = 1.0 - (truth & prediction).sum() / (truth | prediction).sum()
            total += errors[pixel] * (now - before)
            before = now
        of_classes.append(total)
    return float(np.mean(of_classes))


def bce(logits: Array, labels: Labels) -> float:
    valid = labels != 255
    truth = labels[valid][:, None] == np.arange(logits.shape[1])
    p = 1.0 / (1.0 + np.exp(-logits.transpose(0, 2, 3, 1)[valid]))
    return float(-(np.log(np.where(truth, p, 1.0 - p))).sum() / valid.sum())


def region_mutual_information(logits: Array, labels: Labels) -> float:
    """Return half the log determinant of the labels' covariance given the predictions, per dimension, shifted to 0."""
    alpha = 1e-3
    of_images = []
    for image_logits, image_labels in zip(logits, labels, strict=True):
        valid = image_labels != 255
        if not valid.any():
            continue
        of_classes = []
        for c, class_logits in enumerate(image_logits):
            y = _region_vectors((image_labels == c).astype(np.float64))
            p = _region_vectors(np.where(valid, 1.0 / (1.0 + np.exp(-class_logits)), 0.0))
            y, p = y - y.mean(1, keepdims=True), p - p.mean(1, keepdims=True)
            gain = y @ p.T @ np.linalg.inv(p @ p.T + alpha * np.eye(9)) @ p @ y.T
            _, log_det = np.linalg.slogdet(y @ y.T - gain + alpha * np.eye(9))
            of_classes.append(0.5 * log_det / 9 - 0.5 * math.log(alpha))
        of_images.append(sum(of_classes))
    return float(np.mean(of_images))


def _region_vectors(plane: Array) -> Array:
    """Return (9, N) 3 x 3 neighbourhoods of the maxima over 3 x 3 windows; the first window extends by one pixel."""
    padded = np.pad(plane, 1, constant_values=-np.inf)
    pooled = sliding_window_view(padded, (3, 3))[::3, ::3].max((2, 3))
    return np.asarray(sliding_window_view(pooled, (3, 3)).reshape(-1, 9).T)


def _labelled(logits: Array, labels: Labels) -> tuple[Array, Labels]:
    """Return softmax probabilities (P, K) and classes (P,) of the pixels that are not ignored."""
    valid = labels != 255
    exponentials = np.exp(logits.transpose(0, 2, 3, 1)[valid])
    return exponentials / exponentials.sum(1, keepdims=True), labels[valid]
