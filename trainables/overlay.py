"""Classes in colour over the image they were predicted for."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_FIRST_COLORS = (  # Okabe and Ito (2008), Color Universal Design
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_GRID = np.stack(np.meshgrid(*[np.linspace(0, 255, 7)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
_SEEN = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.1, -0.084, -0.016]])
"""RGB to what tells colours apart: luma, blue against yellow, and red against green at 0.2 of its weight in YCbCr,
because one man in twelve hardly sees it."""


def class_colors(num_classes: int) -> Pixels:
    """A colour for every class: (K, 3) uint8 RGB, the first ones the same for every K.

    Eight are Okabe's and Ito's, which people who confuse red and green tell apart; each further one is, of a grid of
    colours, the farthest from those before it, by lightness and blue against yellow more than by red against green.
    """
    colors = [np.array(color, np.float64) for color in _FIRST_COLORS[:num_classes]]
    seen = _GRID @ _SEEN.T
    distance = np.min([np.linalg.norm(seen - _SEEN @ color, axis=1) for color in colors], axis=0)
    while len(colors) < num_classes:
        colors.append(_GRID[distance.argmax()])
        distance = np.minimum(distance, np.linalg.norm(seen - _SEEN @ colors[-1], axis=1))
    return np.rint(colors).astype(np.uint8)


def overlay(image: Pixels, classes: NDArray[np.integer], colors: Pixels, opacity: float = 0.5) -> Pixels:
    """An image (H, W, 3) uint8 RGB under the colours (K, 3) of its classes (H, W) in [0, K): (H, W, 3) uint8."""
    blended = (1.0 - opacity) * image + opacity * colors[classes]
    return np.asarray(np.rint(blended), np.uint8)
