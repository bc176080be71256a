"""Contents of a folder of pairs, whatever its labels mean: pixels of each raw value, sizes, hashes and faults."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.config import IGNORE_INDEX, DataConfig
from trainables.data.decoded import Result, for_all
from trainables.data.folder import Pair, at_most, scan_pairs, shown
from trainables.data.image_files import ImageTraits, Size, pair_size, pixel_digest, read_image_and_traits, read_label
from trainables.data.labels import class_histograms
from trainables.data.preflight import (
    SharedImage,
    SplitSummary,
    likely_bit_depth,
    notices,
    shared_images,
    unlisted_values,
)
from trainables.data.soft_edges import SoftEdges, inner_pixels, soft_edges, soft_edges_notice
from trainables.errors import Fault, InputError

Begin: TypeAlias = Callable[[str, int], Callable[[], None]]
"""Function that is called with the name of a step and its number of files. It returns a function that is called after
each file, from any thread.
"""

SPLITS = ("train", "val", "test")
"""All splits that a dataset may have. The first two are required."""


def silently(what: str, total: int) -> Callable[[], None]:
    """Report no progress; a `Begin` for silent use."""
    return lambda: None


@dataclass(frozen=True)
class Census:
    """Contents of one folder of pairs: the N pairs that can be read, by name, and the faults of the others."""

    pairs: list[Pair]
    sizes: list[Size]
    """Height and width of each pair."""
    histograms: NDArray[np.int64]
    """(N, 256) number of pixels of each raw value in each label."""
    inner: NDArray[np.int64]
    """(256,) number of pixels of each raw value whose four neighbours have the same value, over all labels."""
    digests: list[str]
    """Hash of the decoded pixels of each image; empty if hashes were not requested."""
    traits: list[ImageTraits]
    """Properties of each image file that its pixels no longer show; empty if hashes were not requested."""
    faults: list[Fault]

    @property
    def images(self) -> tuple[tuple[str, Path], ...]:
        """Hash and path of each image; empty if hashes were not requested."""
        return tuple(zip(self.digests, (pair.image for pair in self.pairs), strict=False))

    @property
    def soft_edges(self) -> SoftEdges | None:
        """Values of the labels if they look blended along edges, otherwise None."""
        return soft_edges(self.histograms.sum(axis=0), self.inner)

    def sizes_found(self) -> dict[Size, int]:
        """Return the number of pairs of each height and width."""
        return dict(Counter(self.sizes))

    def value_pixels(self) -> dict[int, int]:
        """Return the number of pixels in all labels of each raw value that occurs."""
        totals = self.histograms.sum(axis=0)
        return {int(value): int(totals[value]) for value in np.flatnonzero(totals)}

    def class_histograms(self, config: DataConfig) -> NDArray[np.int64]:
        """Return the pixels of each class in each label, (N, K)."""
        return class_histograms(self.histograms, config)

    def summary(self, config: DataConfig) -> SplitSummary:
        """Return the same contents in the terms of a config, from which notices are made."""
        histograms = self.class_histograms(config)
        class_pixels = histograms.sum(axis=0)
        return SplitSummary(
            num_images=len(self.pairs),
            sizes=self.sizes_found(),
            class_pixels=tuple(class_pixels.tolist()),
            class_images=tuple((histograms > 0).sum(axis=0).tolist()),
            ignored_pixels=int(self.histograms.sum() - class_pixels.sum()),
            unlisted=unlisted_values(self.histograms, [shown(pair.label) for pair in self.pairs], config),
            smaller_than_crop=0,
            images=self.images,
            traits=tuple(self.traits),
            soft_edges=self.soft_edges,
        )


def take_census(folder: Path, *, hash_images: bool, bit_depth: int = 16, begin: Begin = silently) -> Census:
    """Read each file of a folder `{image,label}` once, and record faults instead of stopping at them.

    Args:
        folder: Holds `image` (or `images`) and `label` (or `labels`).
        hash_images: If True, images are also decoded and hashed; otherwise only their headers are read.
        bit_depth: Significant bits of images with 16 bits per channel.
        begin: Is told about the progress.
    """
    folder = folder.expanduser().absolute()
    pairs, faults = scan_pairs(folder.parent, folder.name)
    advance = begin(f"reading {folder.name}", len(pairs))

    def read(i: int) -> tuple[int, Size, NDArray[np.int64], NDArray[np.int64], str, ImageTraits]:
        pair = pairs[i]
        faults: list[Fault] = []
        size = _unless_faulty(lambda: pair_size(pair.image, pair.label), faults)
        image = None
        if hash_images:
            image = _unless_faulty(lambda: read_image_and_traits(pair.image, bit_depth), faults)
        label = _unless_faulty(lambda: read_label(pair.label), faults)
        digest, traits = ("", ImageTraits()) if image is None else (pixel_digest(image[0]), image[1])
        advance()
        if size is None or label is None or faults:
            raise InputError(list(dict.fromkeys(faults)))
        return i, size, np.bincount(label.ravel(), minlength=256), inner_pixels(label), digest, traits

    bad: list[Fault] = []
    found = for_all(read, len(pairs), bad)
    indices, sizes, histograms, inner, digests, traits = zip(*found, strict=True) if found else [()] * 6
    return Census(
        pairs=[pairs[i] for i in indices],
        sizes=list(sizes),
        histograms=np.array(histograms, np.int64).reshape(-1, 256),
        inner=sum(inner, np.zeros(256, np.int64)),
        digests=list(digests) if hash_images else [],
        traits=list(traits) if hash_images else [],
        faults=[*faults, *at_most(bad)],
    )


def present_splits(folder: Path) -> list[str]:
    """Return the splits that a dataset folder has, in the order of `SPLITS`.

    Raises:
        InputError: it has none.
    """
    splits = [name for name in SPLITS if (folder / name).is_dir()]
    if not splits:
        raise InputError(scan_pairs(folder, SPLITS[0])[1])
    return splits


@dataclass(frozen=True)
class Inspection:
    """Contents of a whole dataset."""

    splits: dict[str, Census]
    config: DataConfig | None
    """Assumed meaning of the label values; None if there are fewer than two of them."""
    notices: list[str]
    """Facts worth knowing that are not faults, one line each."""
    shared: list[SharedImage]
    faults: list[Fault]


def inspect_dataset(folder: Path, config: DataConfig | None = None, begin: Begin = silently) -> Inspection:
    """Inspect all files of a dataset, without stopping at the first fault.

    Args:
        folder: `{train,val[,test]}/{image,label}`.
        config: The meaning of the label values, and how images are read. Without it, every value except 255 counts as a
            class (if labels look blended, only values with areas of their own do), and the bit depth is guessed.
        begin: Is told about the progress.

    Raises:
        InputError: the folder has no split at all.
    """
    folder = folder.expanduser()
    depth = 16 if config is None else config.bit_depth

    def census(name: str) -> Census:
        return take_census(folder / name, hash_images=True, bit_depth=depth, begin=begin)

    splits = {name: census(name) for name in present_splits(folder)}
    found_depth = likely_bit_depth(image for census in splits.values() for image in census.traits)
    if config is None and found_depth < depth:  # too dark to distinguish images
        depth = found_depth
        splits = {name: census(name) for name in splits}
    faults = [fault for census in splits.values() for fault in census.faults]
    faults += [
        Fault(shown(folder), f"has no folder {name}/", "create the splits with `raysearch data split`")
        for name in ("train", "val")
        if name not in splits
    ]
    readable = {name: census for name, census in splits.items() if census.pairs}
    is_guess = config is None
    config = config or guessed_config(list(readable.values()))
    shared = shared_images({name: census.images for name, census in readable.items()})
    lines: list[str] = []
    if config is not None:
        summaries = {name: census.summary(config) for name, census in readable.items()}
        for name in [name for name, summary in summaries.items() if not any(summary.class_pixels)]:
            found = ", ".join(map(str, readable[name].value_pixels()))
            what = f"no label contains a pixel of any class; the ids are {list(config.label_class_ids)}"
            faults.append(Fault(shown(folder / name), what, f"list values of classes; the labels contain {found}"))
            del summaries[name]
        assumed = config.model_copy(update={"bit_depth": 16}) if is_guess else config  # so that the guess is reported
        lines += notices(summaries, assumed)
    else:
        blended = [(census.soft_edges, census) for census in readable.values()]
        lines += [soft_edges_notice(edges, int(c.histograms.sum()), folder) for edges, c in blended if edges][:1]
    return Inspection(splits, config, lines, shared, faults)


def class_names(config: DataConfig) -> tuple[str, ...]:
    """Return the name of each class, or its raw value if it has no name."""
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    return config.class_names or tuple(map(str, ids))


def guessed_config(censuses: Sequence[Census]) -> DataConfig | None:
    """Return the config in which every raw value except 255 is a class, or None if there are fewer than two values.

    If labels look blended along edges, only values that have areas of their own are classes.
    """
    pixels = sum((census.histograms.sum(axis=0) for census in censuses), np.zeros(256, np.int64))
    inner = sum((census.inner for census in censuses), np.zeros(256, np.int64))
    blended = soft_edges(pixels, inner)
    found = np.flatnonzero(pixels).tolist() if blended is None else blended.likely_classes
    values = sorted({*found} - {IGNORE_INDEX})
    if len(values) < 2:
        return None
    return DataConfig(
        label_class_ids=tuple(values),
        class_names=tuple(f"value {value}" for value in values),
        bit_depth=likely_bit_depth(image for census in censuses for image in census.traits),
    )


def _unless_faulty(read: Callable[[], Result], faults: list[Fault]) -> Result | None:
    """Return the contents of a file, or record its faults and return None."""
    try:
        return read()
    except InputError as error:
        faults.extend(error.faults)
        return None
