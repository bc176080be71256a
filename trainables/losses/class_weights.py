"""Class weights of the cross entropy, computed from the number of pixels of each class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainables.plurals import counted


def class_weights(
    scheme: str | tuple[float, ...], power: float, pixel_counts: Sequence[int] | npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """Return the weight of each class, (K,) float64: the scheme's weight raised to `power`.

    With n_i training pixels of class i and f_i = n_i / sum(n), the schemes are

        max_over_count        max(n) / n_i
        inverse               1 / n_i
        one_minus_frequency   1 - f_i
        inverse_log           1 / ln(1.02 + f_i), divided by its mean over the classes that have pixels

    The last one follows Paszke et al. (arXiv 1606.02147). In place of a scheme there may be one number per class, which
    is used as it is. Under every named scheme, a class without pixels has weight 0. Power 0 gives ones throughout,
    power 1 the weights themselves.

    Args:
        scheme: The name of a scheme, or one number per class.
        power: Exponent applied to the weights, 0 or more.
        pixel_counts: (K,) training pixels of each class.

    Raises:
        ValueError: the scheme is unknown, has another length than `pixel_counts` or has a negative number; or no class
            has a pixel to compute a frequency from; or every class that has pixels gets weight 0.
    """
    counts = np.asarray(pixel_counts, dtype=np.float64)
    if not isinstance(scheme, str) and len(scheme) != len(counts):
        numbers, classes = counted(len(scheme), "number"), counted(len(counts), "class")
        raise ValueError(f"ce_weights has {numbers} for {classes}; give one number per class")
    if power == 0.0:
        return np.ones(len(counts))
    weights = _scheme_weights(scheme, counts) if isinstance(scheme, str) else np.asarray(scheme, dtype=np.float64)
    if (weights < 0.0).any():
        raise ValueError(f"ce_weights = {weights.tolist()} has a negative number; weights must be 0 or more")
    if not weights[counts > 0].any() and counts.any():
        given = scheme if isinstance(scheme, str) else weights.tolist()
        raise ValueError(
            f"ce_weights = {given} gives weight 0 to every class that has training pixels, so the loss would be 0 "
            "throughout; give one of them a positive weight"
        )
    return np.asarray(weights**power)


def _scheme_weights(scheme: str, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    present = counts > 0
    if not present.any():
        raise ValueError(f"ce_weights = {scheme} needs labelled pixels, but no class has any; check label_class_ids")
    weights = np.zeros_like(counts)
    frequencies = counts[present] / counts.sum()
    match scheme:
        case "max_over_count":
            weights[present] = counts.max() / counts[present]
        case "inverse":
            weights[present] = 1.0 / counts[present]
        case "one_minus_frequency":
            weights[present] = 1.0 - frequencies
        case "inverse_log":
            inverse_logs = 1.0 / np.log(1.02 + frequencies)
            weights[present] = inverse_logs / inverse_logs.mean()
        case _:
            raise ValueError(
                f"ce_weights = {scheme} is not a known scheme; choose max_over_count, inverse, one_minus_frequency, "
                "inverse_log, or give one number per class"
            )
    return weights
