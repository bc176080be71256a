"""A dataset in tables: the sizes of its images, the pixels and images of its classes."""

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from trainables.config import DataConfig
from trainables.data.census import class_names
from trainables.data.image_files import Size
from trainables.data.preflight import SplitSummary

SIZES_LISTED = 4
"""Image sizes of a split that a table lists, the most frequent ones."""
WEIGHT_POWER = 0.5
"""The power of `max_over_count` that is suggested: milder weights between none and the scheme's own."""
_WIDEST_NUMBER = 6
"""Characters of the widest number of a class; where a terminal is narrow, names give way first."""


def sizes_table(sizes: Mapping[str, Mapping[Size, int]], num_faults: Mapping[str, int] | None = None) -> Table:
    """A row a split: its images, how many faults it has where they were counted, its most frequent sizes."""
    table = folding_table("split", "images", *([] if num_faults is None else ["faults"]), "height x width: images")
    for name, counts in sizes.items():
        ranked = by_frequency(counts)
        listed = [f"{height}x{width}: {count}" for (height, width), count in ranked[:SIZES_LISTED]]
        more = [f"{len(ranked) - SIZES_LISTED} more"] if len(ranked) > SIZES_LISTED else []
        faults = [] if num_faults is None else [str(num_faults[name])]
        table.add_row(name, str(sum(counts.values())), *faults, ", ".join(listed + more))
    return table


def folding_table(*columns: str) -> Table:
    """A table whose text goes on in the next line where the terminal is narrow, rather than being cut off."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def by_frequency(sizes: Mapping[Size, int]) -> list[tuple[Size, int]]:
    """Height and width, and how many images have them, the most frequent first."""
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))


def classes_table(
    splits: Mapping[str, SplitSummary], config: DataConfig, *, with_pixels: bool = True, with_weights: bool = False
) -> Table:
    """Of every class and split the pixels, their share in the split, and the images that have any.

    Args:
        splits: What every split holds.
        config: What its label values mean.
        with_pixels: Show the pixels themselves, which make the table wide.
        with_weights: Show the class weights that are suggested for the training split.
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
    """A fraction with four digits."""
    return f"{part / whole:.4f}" if whole else "-"


def percent(part: int, whole: int) -> str:
    """A fraction in percent, with two significant digits."""
    return f"{float(f'{100 * part / whole:.2g}'):g} %" if whole else "-"
