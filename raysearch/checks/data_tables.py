"""Tables of a dataset: image sizes, and pixels and images of each class."""

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from trainables.config import DataConfig
from trainables.data.census import class_names
from trainables.data.image_files import Size
from trainables.data.preflight import SplitSummary

SIZES_LISTED = 4
"""Number of image sizes of a split that a table lists, the most frequent ones."""
WEIGHT_POWER = 0.5
"""Suggested power of `max_over_count`, which gives milder weights than the scheme itself."""
_WIDEST_NUMBER = 6
"""Number of characters of the widest number of a class; on a narrow terminal, names are shortened first."""


def sizes_table(sizes: Mapping[str, Mapping[Size, int]], num_faults: Mapping[str, int] | None = None) -> Table:
    """Return a table with one row per split: its images, its faults if they were counted, its most frequent sizes."""
    table = folding_table("split", "images", *([] if num_faults is None else ["faults"]), "height x width: images")
    for name, counts in sizes.items():
        ranked = by_frequency(counts)
        listed = [f"{height}x{width}: {count}" for (height, width), count in ranked[:SIZES_LISTED]]
        more = [f"{len(ranked) - SIZES_LISTED} more"] if len(ranked) > SIZES_LISTED else []
        faults = [] if num_faults is None else [str(num_faults[name])]
        table.add_row(name, str(sum(counts.values())), *faults, ", ".join(listed + more))
    return table


def folding_table(*columns: str) -> Table:
    """Return a table that wraps text on a narrow terminal instead of cutting it off."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def by_frequency(sizes: Mapping[Size, int]) -> list[tuple[Size, int]]:
    """Return sizes (height, width) with their numbers of images, the most frequent first."""
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))


def classes_table(
    splits: Mapping[str, SplitSummary], config: DataConfig, *, with_pixels: bool = True, with_weights: bool = False
) -> Table:
    """Return a table of the pixels of every class in every split, their share, and the images that contain the class.

    Args:
        splits: Summary of every split.
        config: Meaning of the label values.
        with_pixels: Show the numbers of pixels, which make the table wide.
        with_weights: Show suggested class weights for the training split.
    """
    from trainables.losses.class_weights import class_weights

    table = folding_table("class", "value")
    for name in splits:
        columns = (*([f"{name} pixels"] if with_pixels else []), "share" if with_pixels else name, "images")
        for column in columns:
            table.add_column(column, justify="right", no_wrap=True, min_width=_WIDEST_NUMBER)
    weights = None
    if with_weights and "train" in splits:
        weights = class_weights("max_over_count", WEIGHT_POWER, splits["train"].class_pixels)
        table.add_column("weight", justify="right", no_wrap=True, min_width=_WIDEST_NUMBER)
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    for k, (name, raw) in enumerate(zip(class_names(config), ids, strict=True)):
        row = [escape(name), str(raw)]
        for summary in splits.values():
            pixels, total = summary.class_pixels[k], sum(summary.class_pixels)
            row += [str(pixels)] if with_pixels else []
            row += [share(pixels, total) if with_pixels else percent(pixels, total), str(summary.class_images[k])]
        table.add_row(*row, *([] if weights is None else [f"{weights[k]:.3g}"]))
    ignored = ["ignored", ""]
    for summary in splits.values():
        total = sum(summary.class_pixels) + summary.ignored_pixels
        ignored += (
            [str(summary.ignored_pixels), "", ""] if with_pixels else [percent(summary.ignored_pixels, total), ""]
        )
    table.add_row(*ignored)
    return table


def share(part: int, whole: int) -> str:
    """Return a fraction with four decimals."""
    return f"{part / whole:.4f}" if whole else "-"


def percent(part: int, whole: int) -> str:
    """Return a fraction in percent with two significant digits."""
    return f"{float(f'{100 * part / whole:.2g}'):g} %" if whole else "-"
