"""Training batches as a function of (seed, iteration), and the samples a network is scored on."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainables.config import DataConfig
from trainables.data.augmentation import Augmentation
from trainables.data.decoded import DecodedSplit, scaled_image
from trainables.data.image_files import Pixels, read_image
from trainables.data.labels import label_table

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""RGB, of images in [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)

# Streams of random numbers with one seed. Seeds of a stream differ in a number that no trailing zero can hide: NumPy
# takes [s, 1] and [s, 1, 0] for the same seed.
_ORDER, _AUGMENTATION = 1, 2


class TrainBatch(NamedTuple):
    """What the network learns from in one iteration."""

    images: Tensor
    """(B, 3, ch, cw) float32, normalised."""
    labels: Tensor
    """(B, ch, cw) int64, class index in [0, K) or 255."""


class EvaluationSample(NamedTuple):
    """One image to be scored against its label."""

    name: str
    image: Tensor
    """(3, h, w) float32, normalised, at `image_scale`."""
    label: Tensor
    """(H, W) int64, class index in [0, K) or 255, at its own size."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the prediction must have."""
        height, width = self.label.shape
        return height, width


class ImageSample(NamedTuple):
    """One image that may have no label."""

    path: Path
    pixels: Pixels
    """(H, W, 3) uint8 RGB, at its own size."""
    image: Tensor
    """(3, h, w) float32, normalised, at `image_scale`."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the prediction must have."""
        height, width = self.pixels.shape[:2]
        return height, width


class TrainBatches:
    """The batches of iterations `start_iteration` to `max_iters - 1`.

    They are of all images of a split unless some are named by place.

    Images come in an order drawn anew for every epoch, without a break between epochs: batch t holds the stream's
    images tB to (t + 1)B - 1. Batch t is a function of the dataset, the config, the seed and t alone, so there is
    nothing to save but the iteration, and the number of workers changes nothing.
    """

    def __init__(
        self,
        split: DecodedSplit,
        config: DataConfig,
        *,
        batch_size: int,
        seed: int,
        start_iteration: int,
        max_iters: int,
        images: Sequence[int] | None = None,
    ) -> None:
        chosen = range(len(split)) if images is None else images
        self._dataset = _BatchOfIteration(split, config, chosen, batch_size, seed)
        self._iterations = range(start_iteration, max_iters)
        self._workers = config.workers

    @property
    def augmentation(self) -> Augmentation:
        """The random changes of the images."""
        return self._dataset.augmentation

    def __len__(self) -> int:
        return len(self._iterations)

    def __iter__(self) -> Iterator[TrainBatch]:
        """Batches in order. Worker processes live as long as the iterator."""
        with warnings.catch_warnings():
            # More workers than processors are for the config to say; torch warns of them at every start of a loader.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            return iter(
                DataLoader(
                    self._dataset,
                    sampler=self._iterations,
                    batch_size=None,  # an item of the dataset is a batch already
                    num_workers=self._workers,
                    # A fork shares the decoded pixels, and only the parent touches the accelerator.
                    multiprocessing_context="fork" if self._workers else None,
                    # The loader draws a seed that nothing here uses; not from the network's generator.
                    generator=torch.Generator(),
                )
            )


class _BatchOfIteration(Dataset[TrainBatch]):
    def __init__(
        self, split: DecodedSplit, config: DataConfig, images: Sequence[int], batch_size: int, seed: int
    ) -> None:
        self._images = images
        self._split, self._batch_size, self._seed = split, batch_size, seed
        self._input_mode = config.input_mode
        self._table = label_table(config)
        self.augmentation = Augmentation(config.augmentation)

    def __getitem__(self, iteration: int) -> TrainBatch:
        images, labels = [], []
        for slot in range(self._batch_size):
            epoch, position = divmod(iteration * self._batch_size + slot, len(self._images))
            i = self._images[_order(self._seed, epoch, len(self._images))[position]]
            rng = np.random.default_rng([self._seed, _AUGMENTATION, iteration, slot])
            image, label = self.augmentation(self._split.image(i), self._split.train_label(i), rng)
            images.append(normalise(image, self._input_mode))
            labels.append(self._table[label])
        return TrainBatch(torch.stack(images), torch.from_numpy(np.stack(labels).astype(np.int64)))


def evaluation_samples(
    split: DecodedSplit, config: DataConfig, images: Iterable[int] | None = None
) -> Iterator[EvaluationSample]:
    """Images of a split, all unless some are named by place: unchanged but for `image_scale`, each with its label."""
    table = label_table(config)
    for i in range(len(split)) if images is None else images:
        label = torch.from_numpy(table[split.label(i)].astype(np.int64))
        yield EvaluationSample(split.names[i], normalise(split.image(i), config.input_mode), label)


def image_samples(paths: Iterable[Path], config: DataConfig) -> Iterator[ImageSample]:
    """What `evaluation_samples` gives of labelled images, of image files alone.

    Raises:
        InputError: a file cannot be read.
    """
    for path in paths:
        pixels = read_image(path, config.bit_depth)
        yield ImageSample(path, pixels, normalise(scaled_image(pixels, config.image_scale), config.input_mode))


def normalise(image: NDArray[np.uint8], input_mode: Literal["RGB", "BGR"]) -> Tensor:
    """What a network sees of an image: (3, h, w) float32.

    Args:
        image: (h, w, 3) uint8, always RGB.
        input_mode: Order of the output's channels. `BGR` normalises the first channel, blue, by the mean and standard
            deviation of red, as the original trainer does.
    """
    ordered = image[..., ::-1] if input_mode == "BGR" else image
    chw = torch.from_numpy(np.ascontiguousarray(ordered.transpose(2, 0, 1), dtype=np.float32))
    return chw.sub_(_MEAN).div_(_STD)


_MEAN = torch.tensor(IMAGENET_MEAN).mul(255.0).view(3, 1, 1)
_STD = torch.tensor(IMAGENET_STD).mul(255.0).view(3, 1, 1)


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, num_samples: int) -> NDArray[Any]:
    """The order of the samples in an epoch."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(num_samples)
