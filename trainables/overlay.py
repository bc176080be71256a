"""Classes drawn in colour over the image that they were predicted for."""

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
"""Matrix from RGB to luma, blue against yellow, and red against green. The last one has 0.2 of its weight in YCbCr,
because one man in twelve hardly sees that difference.
"""


def class_colors(num_classes: int) -> Pixels:
    """Return a colour for each class, (K, 3) uint8 RGB; the first ones are the same for every K.

    The first eight are those of Okabe and Ito, which people with red-green blindness can tell apart. Each further
    colour is the one on a grid that is farthest from all before it. Lightness and blue against yellow count more in
    this distance than red against green.
    """
    colors = [np.array(color, np.float64) for color in _FIRST_COLORS[:num_classes]]
    seen = _GRID @ _SEEN.T
    distance = np.min([np.linalg.norm(seen - _SEEN @ color, axis=1) for color in colors], axis=0)
    while len(colors) < num_classes:
        colors.append(_GRID[distance.argmax()])
        distance = np.minimum(distance, np.linalg.norm(seen - _SEEN @ colors[-1], axis=1))
    return np.rint(colors).astype(np.uint8)


def overlay(image: Pixels, classes: NDArray[np.integer], colors: Pixels, opacity: float = 0.5) -> Pixels:
    """Return an image (H, W, 3) uint8 RGB under the colours (K, 3) of its classes (H, W) in [0, K): (H, W, 3) uint8."""
    blended = (1.0 - opacity) * image + opacity * colors[classes]
    return np.asarray(np.rint(blended), np.uint8)
