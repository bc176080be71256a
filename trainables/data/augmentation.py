"""Random changes to a training image and its label: crop or whole image, brightness, padding, flip."""

import os
import random
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import asks the network for a newer version
import albumentations as A

from trainables.config import IGNORE_INDEX, AugmentationConfig

Pixels: TypeAlias = NDArray[np.uint8]

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's mean in grey levels, RGB, which fills the area outside an image: about 0 after normalisation."""


_CORNERS = {"right_down": "top_left", "left_up": "bottom_right"}
"""Side of the padding -> position of the image."""


class Augmentation:
    """A random crop of an image and its label, as in the original trainer, or the whole image resized.

    Scale and aspect ratio are drawn uniformly. Where the result is smaller than the crop, the image is padded with
    `MEAN_COLOUR` and the label with ignore. The brightness shift does not change the padding.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        self._compose = A.Compose(
            [
                _ScaledCrop(config) if config.fit == "crop" else _WholeImage(config),
                A.RandomBrightnessContrast(brightness_limit=config.brightness / 255.0, contrast_limit=0.0, p=1.0),
                *([_padding(config)] if config.fit != "scale" else []),
                A.HorizontalFlip(p=config.flip),
            ]
        )
        # A crop is too small to be divided among threads, and a trial's threads belong to its network.
        cv2.setNumThreads(0)

    def config_used(self, given: AugmentationConfig) -> AugmentationConfig:
        """Return the config as the transforms show it; a transform that is missing counts as no change."""
        used: dict[str, Any] = {"scale": (1.0, 1.0), "aspect": (1.0, 1.0), "brightness": 0.0, "flip": 0.0}
        for transform in self._compose.transforms:
            match transform:
                case _ScaledCrop():
                    used |= {"scale": transform.config.scale, "aspect": transform.config.aspect}
                case A.RandomBrightnessContrast():
                    # The transform holds the limit as a fraction of 255.
                    limit = max(transform.brightness_limit)
                    used["brightness"] = given.brightness if limit == given.brightness / 255.0 else limit * 255.0
                case A.HorizontalFlip():
                    used["flip"] = transform.p
        return given.model_copy(update=used)

    def __call__(self, image: Pixels, label: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Return a training image and its label; every random number comes from `rng`.

        Args:
            image: (h, w, 3) uint8 RGB.
            label: (h, w) uint8, raw values.
            rng: Source of all randomness; advanced by the call.

        Returns:
            (ch, cw, 3) uint8 and (ch, cw) uint8, raw values and 255 in the padding.
        """
        self._compose.set_random_state(rng, random.Random(int(rng.integers(1 << 63))))
        result = self._compose(image=image, mask=label)
        return result["image"], result["mask"]


def _padding(config: AugmentationConfig) -> Any:
    """Return the transform that pads to `crop_size`."""

    def at(position: str, p: float) -> Any:
        fill = {"fill": MEAN_COLOUR, "fill_mask": IGNORE_INDEX}
        return A.PadIfNeeded(*config.crop_size, position=position, p=p, **fill)

    if config.padding == "border":
        return A.OneOf([at(position, 0.5) for position in _CORNERS.values()], p=1.0)
    return at(_CORNERS.get(config.padding, config.padding), 1.0)


class _ScaledCrop(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """A random crop, at most `crop_size` large, of the randomly scaled image.

    The window is cut out of the source and only then resized, so that the cost does not grow with the image. The result
    is the same as if the whole image were scaled first, except that the window is rounded to whole source pixels.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__(p=1.0)
        self.config = config

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        rng = self.random_generator
        scale = rng.uniform(*self.config.scale)
        factors = (scale, scale * rng.uniform(*self.config.aspect))
        rows, num_rows = _window(params["shape"][0], factors[0], self.config.crop_size[0], rng)
        columns, num_columns = _window(params["shape"][1], factors[1], self.config.crop_size[1], rng)
        return {"window": (rows, columns), "size": (num_columns, num_rows)}

    def apply(self, img: Pixels, window: Any, size: Any, **params: Any) -> Pixels:
        resized: Pixels = cv2.resize(img[window], size, interpolation=cv2.INTER_LINEAR)
        return resized

    def apply_to_mask(self, mask: Pixels, window: Any, size: Any, **params: Any) -> Pixels:
        # The exact mode samples at pixel centres, as the linear mode does; the plain one is off by up to half a pixel.
        resized: Pixels = cv2.resize(mask[window], size, interpolation=cv2.INTER_NEAREST_EXACT)
        return resized


class _WholeImage(_ScaledCrop):
    """The whole image resized to `crop_size`, or to the largest size of its own aspect ratio that fits inside."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        sides = params["shape"][:2]
        factors = [crop / side for crop, side in zip(self.config.crop_size, sides, strict=True)]
        if self.config.fit == "scale_and_pad":
            factors = [min(factors)] * 2
        height, width = (max(1, round(side * factor)) for side, factor in zip(sides, factors, strict=True))
        return {"window": (slice(None), slice(None)), "size": (width, height)}


def _window(length: int, factor: float, crop: int, rng: np.random.Generator) -> tuple[slice, int]:
    """Return a random source interval of a side, and its length in pixels after scaling by `factor`."""
    scaled = max(1, round(length * factor))
    cropped = min(scaled, crop)
    source = min(length, max(1, round(cropped * length / scaled)))
    start = int(rng.integers(length - source + 1))
    return slice(start, start + source), cropped
