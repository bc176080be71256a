"""Shapes that annotation tools draw, converted to masks.

Coordinates are continuous: pixel (x, y) covers x to x + 1 and y to y + 1. A polygon is filled by the rule of COCO's own
tools. Only Supervisely's coordinates are pixel indices, so that a border belongs to the area it encloses.
"""

import base64
import binascii
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from trainables.plurals import counted

Mask: TypeAlias = NDArray[np.bool_]
Points: TypeAlias = Sequence[tuple[float, float]]
"""Vertices (x, y) in pixels."""


class Region(Protocol):
    """Part of an image."""

    def mask(self, height: int, width: int) -> Mask:
        """Return the pixels of the region: (height, width), True inside.

        Raises:
            ValueError: the region is invalid; the message says why.
        """
        ...


@dataclass(frozen=True)
class Polygons:
    """The area inside any of these polygons."""

    parts: tuple[Points, ...]

    def mask(self, height: int, width: int) -> Mask:
        """Return the pixels inside, by the rule of COCO's tools."""
        flat = [[coordinate for point in part for coordinate in point] for part in self.parts if len(part) > 2]
        if not flat:
            raise ValueError("has fewer than three points")
        filled = coco_mask.merge(coco_mask.frPyObjects(flat, height, width))
        return CocoRle(filled["counts"].decode("ascii"), (height, width)).mask(height, width)


@dataclass(frozen=True)
class PixelPolygon:
    """A polygon that includes its own border pixels, without the polygons that are cut out of it."""

    exterior: Points
    interiors: tuple[Points, ...] = ()

    def mask(self, height: int, width: int) -> Mask:
        """Return the pixels inside, with those on the outer border and without those on inner borders."""
        if len(self.exterior) < 3:
            raise ValueError("has fewer than three points")
        drawn = np.zeros((height, width), np.uint8)
        for points, value in ((self.exterior, 1), *((interior, 0) for interior in self.interiors)):
            cv2.fillPoly(drawn, [np.round(np.asarray(points, np.float64)).astype(np.int32)], value)
        return drawn.astype(bool)


@dataclass(frozen=True)
class CocoRle:
    """Runs of pixels, column by column, starting with a run outside: as a list or in COCO's compressed text."""

    counts: str | tuple[int, ...]
    size: tuple[int, int]
    """Height and width."""

    def mask(self, height: int, width: int) -> Mask:
        """Return the pixels of every second run."""
        if self.size != (height, width):
            raise ValueError(f"is a mask of {self.size[1]}x{self.size[0]} pixels, but the image is {width}x{height}")
        runs = _uncompressed(self.counts) if isinstance(self.counts, str) else list(self.counts)
        return _from_runs(runs, height * width).reshape(width, height).T


@dataclass(frozen=True)
class RowRuns:
    """Runs of pixels, row by row in a box, starting with a run outside."""

    runs: tuple[int, ...]
    left: int
    top: int
    width: int
    height: int

    def mask(self, height: int, width: int) -> Mask:
        """Return the pixels of every second run."""
        patch = _from_runs(list(self.runs), self.height * self.width).reshape(self.height, self.width)
        return _placed(patch, self.left, self.top, height, width)


@dataclass(frozen=True)
class PngBitmap:
    """A PNG of a box, compressed by zlib and encoded in base64, as in Supervisely."""

    data: str
    left: int
    top: int

    def mask(self, height: int, width: int) -> Mask:
        """Return the opaque pixels of the PNG, or those other than 0 if it has no transparency."""
        try:
            with Image.open(io.BytesIO(zlib.decompress(base64.b64decode(self.data))), formats=["PNG"]) as image:
                image.load()
                transparent = "A" in image.getbands()
                patch = np.asarray(image.getchannel("A") if transparent else image.convert("L")) > 0
        except (binascii.Error, zlib.error, OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"has a bitmap that cannot be read ({error})") from error
        return _placed(patch, self.left, self.top, height, width)


@dataclass(frozen=True)
class BrushRle:
    """Label Studio's encoding of a brush mask: RGBA bytes of the whole image, run by run."""

    data: bytes
    size: tuple[int, int]
    """Height and width."""

    def mask(self, height: int, width: int) -> Mask:
        """Return the pixels that are not fully transparent."""
        if self.size != (height, width):
            raise ValueError(f"is a mask of {self.size[1]}x{self.size[0]} pixels, but the image is {width}x{height}")
        channels = _brush_bytes(self.data, 4 * height * width)
        return np.asarray(channels.reshape(height, width, 4)[..., 3] > 0)


def box(left: float, top: float, width: float, height: float, rotation: float = 0.0, about: str = "centre") -> Polygons:
    """Return a rectangle, turned clockwise by degrees about its centre or its corner."""
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    pivot = (left + width / 2, top + height / 2) if about == "centre" else (left, top)
    return Polygons((_turned(corners, rotation, pivot),))


def ellipse(x: float, y: float, radius_x: float, radius_y: float, rotation: float = 0.0) -> Polygons:
    """Return an ellipse about (x, y), turned clockwise by degrees, as a polygon of 360 corners."""
    angles = np.radians(np.arange(360.0))
    points = list(zip((x + radius_x * np.cos(angles)).tolist(), (y + radius_y * np.sin(angles)).tolist(), strict=True))
    return Polygons((_turned(points, rotation, (x, y)),))


def _turned(points: Points, degrees: float, pivot: tuple[float, float]) -> Points:
    if not degrees:
        return points
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = pivot
    return [(px + (x - px) * cos - (y - py) * sin, py + (x - px) * sin + (y - py) * cos) for x, y in points]


def _from_runs(runs: list[int], length: int) -> Mask:
    """Return alternating runs of False and True, (length,)."""
    if min(runs, default=0) < 0 or sum(runs) != length:
        raise ValueError(f"has runs of {counted(sum(runs), 'pixel')} in all, but its box has {length}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _uncompressed(text: str) -> list[int]:
    """Return the runs in COCO's compressed text: groups of five bits, with runs after the third as differences.

    pycocotools reads the same, but does not stop at the end of a damaged text.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f"has the character {character!r}, which is not valid in a compressed mask")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("has a compressed mask that is cut off")
    return runs


def _placed(patch: Mask, left: int, top: int, height: int, width: int) -> Mask:
    if left < 0 or top < 0 or top + patch.shape[0] > height or left + patch.shape[1] > width:
        box = f"{patch.shape[1]}x{patch.shape[0]} pixels at x={left}, y={top}"
        raise ValueError(f"is a mask of {box}, which is not inside the image of {width}x{height}")
    whole = np.zeros((height, width), bool)
    whole[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return whole


def _brush_bytes(data: bytes, length: int) -> NDArray[np.uint8]:
    """Return the bytes in Label Studio's runs, of which there must be `length`.

    The format has a header: 32 bits for the number of bytes; 5 bits for the number of bits of a value, minus one; and
    four times 4 bits for the number of bits of a run's length, minus one. Each run follows as: one bit that says
    whether it repeats a single value; two bits that choose one of the four lengths; the run's length, minus one; and
    its value or values.
    """
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        if at + count > len(bits):
            raise ValueError("has a brush mask that is cut off")
        at += count
        return int(bits[at - count : at], 2)

    total, word = read(32), read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    if total != length:
        raise ValueError(f"holds {counted(total, 'value')}, but the image has {length}")
    found = bytearray()
    while len(found) < total:
        repeats = read(1)
        count = read(lengths[read(2)]) + 1
        if repeats:
            found += bytes([read(word)]) * count
        else:
            found += bytes(read(word) for _ in range(count))
    if len(found) != length:
        raise ValueError(f"holds {counted(len(found), 'value')}, but the image has {length}")
    return np.frombuffer(bytes(found), np.uint8)
