"""The drawn dataset: shapes on textures, for a first run without own images.

It has four classes with the raw values of the default `label_class_ids`: ground texture (0), large striped shapes (74),
small dotted discs (128) and tiny crosses (145). Their colour ranges overlap, and similar shapes without texture belong
to the ground, so that texture and shape distinguish the classes. The last class has less than a fortieth of the pixels
of the first.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.config import IGNORE_INDEX, DrawnConfig

GROUND, STRIPED, DOTTED, CROSS = 0, 74, 128, 145
"""Raw label values of the four classes."""

SPLITS = ("train", "val", "test")

_TINT = {
    GROUND: np.zeros(3, np.float32),
    STRIPED: np.zeros(3, np.float32),
    DOTTED: np.array([50.0, 0.0, -40.0], np.float32),
    CROSS: np.array([-50.0, 20.0, 55.0], np.float32),
}
"""RGB shift of each class's colours. It is a hint within the range of chance, so that the small classes are soon
learned.
"""

Canvas: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.uint8]


def draw_split(config: DrawnConfig, split: str) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Draw all images (H, W, 3) uint8 RGB and labels (H, W) uint8 of a split; `test` has as many as `val`."""
    pairs = [draw_pair(config, split, index) for index in range(num_images(config, split))]
    return [image for image, _ in pairs], [label for _, label in pairs]


def num_images(config: DrawnConfig, split: str) -> int:
    """Return the number of images in a split."""
    return config.num_train if split == "train" else config.num_val


def draw_pair(config: DrawnConfig, split: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image (H, W, 3) uint8 RGB and its label (H, W) uint8; they depend only on seed, size, split and index.

    Lengths are in 96ths of the shorter side, so all sizes look alike. Outlines of some large shapes are 255, ignored.
    The shapes that are painted as ground are look-alikes: a polygon without stripes, a disc without dots, a single bar.
    """
    rng = np.random.default_rng([config.seed, SPLITS.index(split), index])
    size = config.size
    unit = min(size) / 96.0
    tint = rng.uniform(11.0, 28.0, 3).astype(np.float32)
    canvas = _colour(rng) + _noise(size, 12.0 * unit, rng)[..., None] * tint
    label = np.full(size, GROUND, np.uint8)

    def paint(mask: Mask, value: int, texture: Canvas | float = 0.0) -> None:
        inside = mask > 0
        canvas[inside] = (
            _colour(rng) + _TINT[value] + (texture[inside][:, None] if isinstance(texture, np.ndarray) else texture)
        )
        label[inside] = value

    for _ in range(rng.integers(2, 4)):
        paint(_polygon(size, rng.uniform(9, 17) * unit, rng), GROUND)
    for _ in range(rng.integers(2, 5)):
        mask = _polygon(size, rng.uniform(13, 21) * unit, rng)
        paint(mask, STRIPED, 26.0 * _stripes(size, rng.uniform(4.5, 7.0) * unit, rng))
        if rng.random() < 0.3:
            edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
            label[edge > 0] = IGNORE_INDEX
    for _ in range(rng.integers(1, 3)):
        paint(_disc(size, rng.uniform(4, 7) * unit, rng), GROUND)
    for _ in range(rng.integers(0, 4)):
        paint(_disc(size, rng.uniform(6, 9) * unit, rng), DOTTED, 38.0 * _dots(size, 4.5 * unit, rng))
    for _ in range(rng.integers(1, 3)):
        paint(_bars(size, rng.uniform(4, 6) * unit, 1, rng), GROUND)
    for _ in range(rng.integers(0, 4)):
        paint(_bars(size, rng.uniform(5.5, 7.5) * unit, 2, rng), CROSS)

    canvas += rng.normal(0.0, 7.0, (*size, 3)).astype(np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), label


def _colour(rng: np.random.Generator) -> Canvas:
    """Draw a colour, (3,), from the range that all classes share."""
    return rng.uniform(60.0, 195.0, 3).astype(np.float32)


def _noise(size: tuple[int, int], period: float, rng: np.random.Generator) -> Canvas:
    """Draw smooth noise, (H, W), of about unit variance with blotches `period` pixels wide."""
    coarse = rng.normal(0.0, 1.4, [max(2, round(side / period) + 1) for side in size]).astype(np.float32)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _stripes(size: tuple[int, int], period: float, rng: np.random.Generator) -> Canvas:
    """Draw sine stripes, (H, W) in [-1, 1], of any direction."""
    angle, phase = rng.uniform(0.0, 2.0 * np.pi, 2)
    y, x = np.ogrid[: size[0], : size[1]]
    wave: Canvas = np.sin(2.0 * np.pi / period * (x * np.cos(angle) + y * np.sin(angle)) + phase).astype(np.float32)
    return wave


def _dots(size: tuple[int, int], period: float, rng: np.random.Generator) -> Canvas:
    """Draw a grid of dots, (H, W) in [-1, 1]."""
    shift_y, shift_x = rng.uniform(0.0, 2.0 * np.pi, 2)
    y, x = np.ogrid[: size[0], : size[1]]
    wave = 2.0 * np.pi / period
    dots: Canvas = (np.sin(wave * y + shift_y) * np.sin(wave * x + shift_x)).astype(np.float32)
    return dots


def _polygon(size: tuple[int, int], radius: float, rng: np.random.Generator) -> Mask:
    """Draw a polygon of four to seven corners around a random centre."""
    corners = int(rng.integers(4, 8))
    angles = np.sort(
        rng.uniform(0.0, 2.0 * np.pi) + (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2.0 * np.pi / corners
    )
    reach = radius * rng.uniform(0.75, 1.25, corners)
    points = _centre(size, rng) + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _filled(size, [points])


def _disc(size: tuple[int, int], radius: float, rng: np.random.Generator) -> Mask:
    """Draw a disc, as a polygon so that its edge can lie between pixels."""
    angles = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    return _filled(size, [_centre(size, rng) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)])


def _bars(size: tuple[int, int], radius: float, count: int, rng: np.random.Generator) -> Mask:
    """Draw one bar, or two that cross at right angles."""
    centre, angle = _centre(size, rng), rng.uniform(0.0, np.pi)
    box = np.array([[-1.0, -0.3], [1.0, -0.3], [1.0, 0.3], [-1.0, 0.3]]) * radius
    turned = []
    for turn in range(count):
        cos, sin = np.cos(angle + turn * np.pi / 2.0), np.sin(angle + turn * np.pi / 2.0)
        turned.append(centre + box @ np.array([[cos, sin], [-sin, cos]]))
    return _filled(size, turned)


def _centre(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a random point (x, y) of the image."""
    return np.array([rng.uniform(0.0, size[1]), rng.uniform(0.0, size[0])])


def _filled(size: tuple[int, int], polygons: list[NDArray[np.float64]]) -> Mask:
    """Return the union of polygons with corners (N, 2) in x, y as a mask (H, W) of 0 and 1."""
    mask = np.zeros(size, np.uint8)
    for points in polygons:
        cv2.fillPoly(mask, [np.rint(points * 16.0).astype(np.int32)], 1, shift=4)
    return mask
