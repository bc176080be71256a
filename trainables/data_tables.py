"""Tables of a dataset: image sizes, and pixels and images of each class."""

from collections.abc import Mapping

from trainables.config import Config, DataConfig
from trainables.data.census import class_names
from trainables.data.image_files import Size
from trainables.data.preflight import SplitSummary, inspect
from trainables.losses.class_weights import class_weights
from trainables.plurals import counted
from trainables.protocol import DataDescription, TextTable

SIZES_LISTED = 4
"""Number of image sizes of a split that a table lists, the most frequent ones."""
WEIGHT_POWER = 0.5
"""Suggested power of `max_over_count`, which gives milder weights than the scheme itself."""


def describe_data(config: Config) -> DataDescription:
    """Return the numbers of images and classes, the sizes of the images, and the share of every class.

    Raises:
        InputError: every fault of the dataset.
    """
    data = config.data
    splits = inspect(data, data.augmentation.crop_size)
    images = ", ".join(f"{summary.num_images} {name}" for name, summary in splits.items())
    tables = (
        sizes_table({name: summary.sizes for name, summary in splits.items()}),
        classes_table(splits, data, with_pixels=False, with_weights=True),
    )
    return DataDescription("images", f"{images}; {counted(data.num_classes, 'class')}", tables)


def sizes_table(sizes: Mapping[str, Mapping[Size, int]], num_faults: Mapping[str, int] | None = None) -> TextTable:
    """Return a table with one row per split: its images, its faults if they were counted, its most frequent sizes."""
    header = ("split", "images", *([] if num_faults is None else ["faults"]), "height x width: images")
    rows = []
    for name, counts in sizes.items():
        ranked = by_frequency(counts)
        listed = [f"{height}x{width}: {count}" for (height, width), count in ranked[:SIZES_LISTED]]
        more = [f"{len(ranked) - SIZES_LISTED} more"] if len(ranked) > SIZES_LISTED else []
        faults = [] if num_faults is None else [str(num_faults[name])]
        rows.append((name, str(sum(counts.values())), *faults, ", ".join(listed + more)))
    return TextTable(header, tuple(rows), num_text_columns=len(header))


def by_frequency(sizes: Mapping[Size, int]) -> list[tuple[Size, int]]:
    """Return sizes (height, width) with their numbers of images, the most frequent first."""
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))


def classes_table(
    splits: Mapping[str, SplitSummary], config: DataConfig, *, with_pixels: bool = True, with_weights: bool = False
) -> TextTable:
    """Return a table of the pixels of every class in every split, their share, and the images that contain the class.

    Args:
        splits: Summary of every split.
        config: Meaning of the label values.
        with_pixels: Show the numbers of pixels, which make the table wide.
        with_weights: Show suggested class weights for the training split.
    """
    header, rows = ["class", "value"], []
    for name in splits:
        header += [*([f"{name} pixels"] if with_pixels else []), "share" if with_pixels else name, "images"]
    weights = None
    if with_weights and "train" in splits:
        weights = class_weights("max_over_count", WEIGHT_POWER, splits["train"].class_pixels)
        header.append("weight")
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    for k, (name, raw) in enumerate(zip(class_names(config), ids, strict=True)):
        row = [name, str(raw)]
        for summary in splits.values():
            pixels, total = summary.class_pixels[k], sum(summary.class_pixels)
            row += [str(pixels)] if with_pixels else []
            row += [share(pixels, total) if with_pixels else percent(pixels, total), str(summary.class_images[k])]
        rows.append([*row, *([] if weights is None else [f"{weights[k]:.3g}"])])
    ignored = ["ignored", ""]
    for summary in splits.values():
        total = sum(summary.class_pixels) + summary.ignored_pixels
        ignored += (
            [str(summary.ignored_pixels), "", ""] if with_pixels else [percent(summary.ignored_pixels, total), ""]
        )
    rows.append(ignored + [""] * (len(header) - len(ignored)))
    return TextTable(tuple(header), tuple(map(tuple, rows)), num_text_columns=2)


def share(part: int, whole: int) -> str:
    """Return a fraction with four decimals."""
    return f"{part / whole:.4f}" if whole else "-"


def percent(part: int, whole: int) -> str:
    """Return a fraction in percent with two significant digits."""
    return f"{float(f'{100 * part / whole:.2g}'):g} %" if whole else "-"
