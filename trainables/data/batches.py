"""Training batches as a function of (seed, iteration), and the samples that a network is scored on."""

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
"""Mean of each channel, RGB, of images in [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)

# Random number streams that share one seed. Two seeds of a stream must differ in more than a trailing zero, because
# NumPy takes [s, 1] and [s, 1, 0] for the same seed.
_ORDER, _AUGMENTATION = 1, 2


class TrainBatch(NamedTuple):
    """Images and labels that the network learns from in one iteration."""

    images: Tensor
    """(B, 3, ch, cw) float32, normalised."""
    labels: Tensor
    """(B, ch, cw) int64, class index in [0, K) or 255."""


class EvaluationSample(NamedTuple):
    """One image that is scored against its label."""

    name: str
    image: Tensor
    """(3, h, w) float32, normalised, at `image_scale`."""
    label: Tensor
    """(H, W) int64, class index in [0, K) or 255, at the label's own size."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the prediction must have, in pixels."""
        height, width = self.label.shape
        return height, width


class ImageSample(NamedTuple):
    """One image that may have no label."""

    path: Path
    pixels: Pixels
    """(H, W, 3) uint8 RGB, at the image's own size."""
    image: Tensor
    """(3, h, w) float32, normalised, at `image_scale`."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the prediction must have, in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width


class TrainBatches:
    """The batches of iterations `start_iteration` to `max_iters - 1`.

    They use all images of a split, or those whose indices are given.

    The order of the images is drawn anew for each epoch, and epochs follow one another without a gap: batch t holds
    images tB to (t + 1)B - 1 of this stream. Batch t depends only on the dataset, the config, the seed and t. Therefore
    a checkpoint needs no state except the iteration, and the number of workers has no effect.
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
        pin_memory: bool = False,
    ) -> None:
        """Describe the batches; with `pin_memory`, they are in memory that a GPU can copy from while it computes."""
        chosen = range(len(split)) if images is None else images
        self._dataset = _BatchOfIteration(split, config, chosen, batch_size, seed)
        self._iterations = range(start_iteration, max_iters)
        self._workers = config.workers
        self._pin_memory = pin_memory

    @property
    def augmentation(self) -> Augmentation:
        """Random changes that are made to the images."""
        return self._dataset.augmentation

    def __len__(self) -> int:
        return len(self._iterations)

    def __iter__(self) -> Iterator[TrainBatch]:
        """Yield the batches in order. Worker processes live as long as the iterator."""
        with warnings.catch_warnings():
            # The config decides whether there are more workers than processors; torch warns about it at each start of a
            # loader.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            return iter(
                DataLoader(
                    self._dataset,
                    sampler=self._iterations,
                    batch_size=None,  # an item of the dataset is already a batch
                    num_workers=self._workers,
                    pin_memory=self._pin_memory,
                    # A forked process shares the decoded pixels, and only the parent uses the accelerator.
                    multiprocessing_context="fork" if self._workers else None,
                    # The loader draws a seed that is not used here; it must not come from the network's generator.
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
    """Yield the images of a split with their labels, all of them or those at the given indices.

    The images are unchanged except for `image_scale`.
    """
    table = label_table(config)
    for i in range(len(split)) if images is None else images:
        label = torch.from_numpy(table[split.label(i)].astype(np.int64))
        yield EvaluationSample(split.names[i], normalise(split.image(i), config.input_mode), label)


def image_samples(paths: Iterable[Path], config: DataConfig) -> Iterator[ImageSample]:
    """Yield the same samples as `evaluation_samples`, but from image files without labels.

    Raises:
        InputError: a file cannot be read.
    """
    for path in paths:
        pixels = read_image(path, config.bit_depth)
        yield ImageSample(path, pixels, normalise(scaled_image(pixels, config.image_scale), config.input_mode))


def normalise(image: NDArray[np.uint8], input_mode: Literal["RGB", "BGR"]) -> Tensor:
    """Return an image as the network receives it: (3, h, w) float32.

    Args:
        image: (h, w, 3) uint8, always RGB.
        input_mode: Channel order of the output. `BGR` normalises the first channel, blue, with the mean and standard
            deviation of red, as the original trainer does.
    """
    ordered = image[..., ::-1] if input_mode == "BGR" else image
    chw = torch.from_numpy(np.ascontiguousarray(ordered.transpose(2, 0, 1), dtype=np.float32))
    return chw.sub_(_MEAN).div_(_STD)


_MEAN = torch.tensor(IMAGENET_MEAN).mul(255.0).view(3, 1, 1)
_STD = torch.tensor(IMAGENET_STD).mul(255.0).view(3, 1, 1)


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, num_samples: int) -> NDArray[Any]:
    """Return the order of the samples in an epoch."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(num_samples)
