"""Splits of a dataset that all contain every class, drawn by iterative stratification.

The method follows Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011: the
images of the rarest class are distributed first, each to the split that needs that class most. Here the units that are
distributed are groups of images that stay together. If there are enough units, each split is meant to get at least one
with each class.
"""

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.census import SPLITS, Begin, class_names, guessed_config, silently, take_census
from trainables.data.class_list import CLASS_LIST
from trainables.data.folder import LABEL_ENDING, Pair, at_most, shown
from trainables.data.output_folder import new_folder, place
from trainables.data.text_table import read_text, separator_of
from trainables.errors import Fault, InputError
from trainables.plurals import counted

MOVES_TRIED = 200
"""Maximum number of moves and exchanges between two splits that are tried in each step, the most helpful ones first."""
UNITS_OF_A_SIZE = 20
"""Number of groups of the same size that are considered for an exchange."""

Presence: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Division:
    """Result of a split. Every dictionary is by split, in the order of the splits, unless it says otherwise."""

    class_names: tuple[str, ...]
    num_images: dict[str, int]
    class_images: dict[str, list[int]]
    """Number of images that have a pixel of each class, (K,)."""
    class_pixels: dict[str, list[int]]
    """Pixels of each class, (K,)."""
    subcategory_images: dict[str, dict[str, int]]
    """Sub-category -> split -> number of images; empty if no sub-categories were requested."""

    def missing(self) -> list[tuple[str, str, int]]:
        """Return each class or sub-category that a split lacks, the split, and the number of images that have it."""
        by_class = [
            (name, {split: counts[k] for split, counts in self.class_images.items()})
            for k, name in enumerate(self.class_names)
        ]
        return [
            (name, split, sum(images.values()))
            for name, images in (*by_class, *self.subcategory_images.items())
            for split, count in images.items()
            if count == 0 < sum(images.values())
        ]


def split_dataset(
    source: Path,
    destination: Path,
    sizes: Mapping[str, float | None],
    *,
    seed: int = 0,
    config: DataConfig | None = None,
    group: str | Path | None = None,
    subcategory: str | None = None,
    link: bool = False,
    begin: Begin = silently,
) -> Division:
    """Write the pairs of `source` under `destination`, in splits that all contain every class as far as possible.

    Args:
        source: `{image,label}`, or a dataset whose splits are merged first; it is never changed.
        destination: Absent or an empty folder. It is created complete or not at all.
        sizes: Split -> its size: a share of the images if below 1, otherwise their number; None for the split that gets
            the rest. A number is met exactly, unless groups prevent it.
        seed: Seed of the draw; nothing else is random.
        config: The meaning of the label values; without it, every value except 255 is a class.
        group: Groups of images that stay together: a regular expression on the names, or a CSV file of rows name,group.
        subcategory: A regular expression on the names. Each value that it finds is put into every split, like a class.
        link: Make hard links instead of copies.
        begin: Is told about the progress.

    Raises:
        InputError: every file that cannot be read or has no partner, and every name that occurs twice or that a pattern
            or the CSV file does not cover; fewer groups than splits; numbers that leave no image for the rest; or a
            destination that exists.
    """
    source = source.expanduser()
    if not source.is_dir():
        raise InputError([Fault(shown(source), "is not a folder", "give a dataset or one {image,label} folder")])
    folders = [source / name for name in SPLITS if (source / name).is_dir()] or [source]
    censuses = [take_census(folder, hash_images=False, begin=begin) for folder in folders]
    pairs = [pair for census in censuses for pair in census.pairs]
    faults = [fault for census in censuses for fault in census.faults] + _repeated_names(pairs)
    if faults:
        raise InputError(faults)

    shares = _shares(sizes, len(pairs))
    config = config or guessed_config(censuses)
    counts = np.zeros((len(pairs), 0), np.int64)
    if config is not None:
        counts = np.concatenate([census.class_histograms(config) for census in censuses])
    found = np.array(names_by_pattern(pairs, subcategory, "--subcategory") if subcategory is not None else [], str)
    subcategories = np.unique(found)
    wanted = np.column_stack([counts > 0, *(found == name for name in subcategories)])
    match group:
        case None:
            groups = [pair.name for pair in pairs]
        case Path():
            groups = names_by_csv(pairs, group)
        case _:
            groups = names_by_pattern(pairs, group, "--group")
    numbers = {split: int(size) for split, size in sizes.items() if size is not None and size >= 1.0}
    chosen = stratified(wanted, groups, shares, seed, numbers)

    _write(chosen, pairs, destination, source, link, begin)
    return Division(
        class_names=class_names(config) if config is not None else (),
        num_images={split: len(indices) for split, indices in chosen.items()},
        class_images={split: (counts[indices] > 0).sum(axis=0).tolist() for split, indices in chosen.items()},
        class_pixels={split: counts[indices].sum(axis=0).tolist() for split, indices in chosen.items()},
        subcategory_images={
            str(name): {split: int((found[indices] == name).sum()) for split, indices in chosen.items()}
            for name in subcategories
        },
    )


def stratified(
    presence: Presence,
    groups: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    numbers: Mapping[str, int] | None = None,
) -> dict[str, NDArray[np.intp]]:
    """Return the images of each split, ascending.

    A class that occurs in at least as many groups as there are splits has an image in every split, unless each group
    that could provide it is needed where it is for another class. Within these limits, the splits have the right sizes,
    or no move of a group and no exchange of two groups would bring them closer.

    Args:
        presence: (N, K) whether image n has class k (or any other property that all splits should have).
        groups: (N,) group of each image; the images of a group go to the same split.
        shares: Split -> its share of the images, above 0; together 1.
        seed: Seed of the draw; nothing else is random.
        numbers: Split -> its number of images, which is met as closely as groups allow; one split has no number.

    Raises:
        InputError: there are fewer groups than splits.
    """
    names, unit_of = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < len(shares):
        images_in_groups = f"{counted(len(presence), 'image')} in {counted(len(names), 'group')}"
        what = f"{images_in_groups} cannot be divided into {len(shares)} splits"
        raise InputError([Fault("groups", what, "use smaller groups, fewer splits or more images")])
    images = np.zeros((len(names), presence.shape[1] + 1), np.int64)  # images per unit, by class and in all
    np.add.at(images, unit_of, np.column_stack([presence, np.ones(len(presence), bool)]))

    share = np.array(list(shares.values()))
    assigned = _assign(images, share, np.random.default_rng(seed))
    _mend(images, assigned, len(share))
    _even_out(images, assigned, share)
    if numbers:
        places = {name: s for s, name in enumerate(shares)}
        rest = next(s for name, s in places.items() if name not in numbers)
        _settle(images, assigned, {places[name]: number for name, number in numbers.items()}, rest)
    return {name: np.flatnonzero(assigned[unit_of] == s) for s, name in enumerate(shares)}


def _assign(images: NDArray[np.int64], share: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the split of each unit, (U,), for `images` (U, K + 1), whose last column counts all images of a unit."""
    num_units, num_columns = images.shape
    wanted = share[:, None] * images.sum(axis=0)  # (S, K + 1), number of images still to be assigned
    num_with = (images > 0).sum(axis=0)
    wanted[:, num_with >= len(share)] = np.maximum(wanted[:, num_with >= len(share)], 1.0)
    assigned = np.full(num_units, -1)
    ties = rng.permutation(num_units)  # the order of units that are otherwise equal
    while (open_units := assigned < 0).any():
        remaining = (images[open_units] > 0).sum(axis=0)
        remaining[remaining == 0] = num_units + 1
        column = int(np.argmin(remaining[:-1])) if (remaining[:-1] <= num_units).any() else num_columns - 1
        candidates = np.flatnonzero(open_units & (images[:, column] > 0))
        # Large units come first: small ones can still even out the remaining differences.
        for unit in candidates[np.lexsort((ties[candidates], -images[candidates, column]))]:
            split = max(range(len(share)), key=lambda s: (wanted[s, column], wanted[s, -1], share[s]))
            assigned[unit] = split
            wanted[split] -= images[unit]
    return assigned


def _mend(images: NDArray[np.int64], assigned: NDArray[np.intp], num_splits: int) -> None:
    """Give a split that lacks a class a unit that has it, if no split loses another class; rarest class first."""
    has = images > 0
    num_with = has.sum(axis=0)
    for column in np.argsort(num_with, kind="stable"):
        if num_with[column] < num_splits:
            continue
        for split in range(num_splits):
            if has[assigned == split, column].any():
                continue
            units_with = np.array([has[assigned == s].sum(axis=0) for s in range(num_splits)])  # (S, K + 1)
            movable = [
                unit
                for unit in np.flatnonzero(has[:, column])
                if (units_with[assigned[unit], has[unit] & (num_with >= num_splits)] > 1).all()
            ]
            if movable:
                assigned[min(movable, key=lambda unit: (images[unit, -1], unit))] = split


def _even_out(images: NDArray[np.int64], assigned: NDArray[np.intp], share: NDArray[np.float64]) -> None:
    """Move or exchange units as long as that brings splits closer to their shares and no split loses a class.

    Among moves that bring them equally close, the one that distributes the classes best is chosen.
    """
    has, total = images > 0, images.sum(axis=0)
    wanted = share[:, None] * total  # (S, K + 1)
    while True:
        held = np.array([images[assigned == s].sum(axis=0) for s in range(len(share))])
        units_with = np.array([has[assigned == s].sum(axis=0) for s in range(len(share))])
        best = (float(np.abs(held - wanted)[:, -1].sum()) - 0.5, 0.0)  # closer by at least one image
        change: list[tuple[int, int]] = []
        for source, target in itertools.permutations(range(len(share)), 2):
            for units in _candidates(images[:, -1], assigned, source, target, (held - wanted)[:, -1]):
                moved = [(unit, target if assigned[unit] == source else source) for unit in units]
                after, after_units = held.copy(), units_with.copy()
                for unit, split in moved:
                    after[assigned[unit]] -= images[unit]
                    after[split] += images[unit]
                    after_units[assigned[unit]] -= has[unit]
                    after_units[split] += has[unit]
                if ((after_units == 0) & (units_with > 0)).any():
                    continue
                away = np.abs(after - wanted)
                cost = (float(away[:, -1].sum()), float((away / np.maximum(total, 1)).sum()))
                if cost < best:
                    best, change = cost, moved
        if not change:
            return
        for unit, split in change:
            assigned[unit] = split


def _candidates(
    sizes: NDArray[np.int64],
    assigned: NDArray[np.intp],
    source: int,
    target: int,
    surplus: NDArray[np.float64],
) -> Iterator[tuple[int, ...]]:
    """Yield the units that could move from one split to another, alone or in exchange, the most helpful ones first.

    Args:
        sizes: (U,) number of images of each unit.
        assigned: (U,) split of each unit.
        source: A split.
        target: Another split.
        surplus: (S,) number of images that each split has beyond its share.
    """
    if surplus[source] <= surplus[target]:
        return
    out, back = np.flatnonzero(assigned == source), np.flatnonzero(assigned == target)
    # Nothing comes back, or one unit of another size. Of units of the same size, a few are enough to choose from.
    back = np.concatenate([back[sizes[back] == size][:UNITS_OF_A_SIZE] for size in np.unique(sizes[back])])
    gained = np.concatenate([[0], sizes[back]])
    change = sizes[out][:, None] - gained[None]  # (O, 1 + B)
    away = np.abs(surplus[source] - change) + np.abs(surplus[target] + change)
    helps = np.flatnonzero(away.ravel() < np.abs(surplus[[source, target]]).sum() - 0.5)
    order = helps[np.argsort(away.ravel()[helps], kind="stable")][:MOVES_TRIED]
    for position in order:
        first, second = divmod(int(position), len(gained))
        yield (int(out[first]),) if second == 0 else (int(out[first]), int(back[second - 1]))


def _settle(images: NDArray[np.int64], assigned: NDArray[np.intp], numbers: Mapping[int, int], rest: int) -> None:
    """Move units between the splits with a required number of images and the rest until the numbers are right.

    Units that are not the last of a class in their split are moved first. If no unit is small enough, a split keeps a
    few images too many or too few.
    """
    has = images > 0
    for split, number in numbers.items():
        while missing := number - int(images[assigned == split, -1].sum()):
            source, target = (rest, split) if missing > 0 else (split, rest)
            units = np.flatnonzero((assigned == source) & (images[:, -1] <= abs(missing)))
            if not len(units):
                break
            is_last = has[assigned == source].sum(axis=0) == 1
            num_lost = (has[units] & is_last).sum(axis=1)
            assigned[units[np.lexsort((has[units].sum(axis=1), -images[units, -1], num_lost))[0]]] = target


def _shares(sizes: Mapping[str, float | None], num_images: int) -> dict[str, float]:
    """Return the share of each split, above 0 and together 1.

    Raises:
        InputError: nothing is left for the split without a size.
    """
    given = {split: size if size < 1.0 else size / num_images for split, size in sizes.items() if size is not None}
    rest = 1.0
    for share in given.values():
        rest -= share
    if len(given) < len(sizes) and rest * num_images < 0.5:
        told = " and ".join(f"{split} {size:g}" for split, size in sizes.items() if size is not None)
        (left,) = (split for split, size in sizes.items() if size is None)
        what = f"{told} of {counted(num_images, 'image')} leave no image for {left}"
        raise InputError([Fault("data split", what, "give smaller numbers")])
    return {split: given.get(split, rest) for split in sizes}


def names_by_pattern(pairs: Sequence[Pair], pattern: str, option: str) -> list[str]:
    """Return the first group, or else the whole match, of a regular expression in the name of each pair.

    Raises:
        InputError: the pattern is invalid; also every pair that it does not match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            [Fault(f"{option} {pattern}", f"is not a valid regular expression ({error})", "correct it")]
        ) from error
    matches = [compiled.search(pair.name) for pair in pairs]
    faults = [
        Fault(shown(pair.image), f"{option} {pattern} does not match its name {pair.name}", "widen the pattern")
        for pair, match in zip(pairs, matches, strict=True)
        if match is None
    ]
    if faults:
        raise InputError(at_most(faults))
    return [(match[1] or "") if match.re.groups else match[0] for match in matches if match is not None]


def names_by_csv(pairs: Sequence[Pair], path: Path) -> list[str]:
    """Return the group of each pair from a CSV file of rows `name, group`; a name is a file name or its stem.

    Raises:
        InputError: the file cannot be read; also every pair that it does not name, and every name with two groups.
    """
    lines = read_text(path).splitlines()
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator_of(lines[0]) or ",") if row] if lines else []
    except csv.Error as error:
        raise InputError(
            [Fault(shown(path), f"cannot be read ({error})", "give a CSV file with rows name,group")]
        ) from error
    faults: list[Fault] = []
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            faults.append(
                Fault(
                    f"{path}: row {number}",
                    f"has {counted(len(row), 'column')}, but must be name,group",
                    "write two columns",
                )
            )
        elif groups.setdefault(row[0].strip(), row[1].strip()) != row[1].strip():
            faults.append(
                Fault(f"{path}: row {number}", f"gives {row[0]} another group than before", "keep one of them")
            )
    found = [groups.get(pair.name, groups.get(pair.image.name)) for pair in pairs]
    faults += [
        Fault(shown(path), f"has no group for {pair.name}", f"add a row {pair.name},GROUP")
        for pair, group in zip(pairs, found, strict=True)
        if group is None
    ]
    if faults:
        raise InputError(at_most(faults))
    return [group for group in found if group is not None]


def _repeated_names(pairs: Sequence[Pair]) -> list[Fault]:
    by_name: dict[str, Pair] = {}
    return at_most(
        Fault(shown(pair.image), f"has the same name as {shown(by_name[pair.name].image)}", "rename one of them")
        for pair in pairs
        if by_name.setdefault(pair.name, pair) is not pair
    )


def _write(
    chosen: Mapping[str, NDArray[np.intp]],
    pairs: Sequence[Pair],
    destination: Path,
    source: Path,
    link: bool,
    begin: Begin,
) -> None:
    advance = begin("linking pairs" if link else "copying pairs", len(pairs))
    with new_folder(destination, source) as folder:
        for split, indices in chosen.items():
            (folder / split / "image").mkdir(parents=True)
            (folder / split / "label").mkdir()
            for pair in (pairs[i] for i in indices):
                place(pair.image, folder / split / "image" / pair.image.name, link=link)
                place(pair.label, folder / split / "label" / (pair.name + LABEL_ENDING), link=link)
                advance()
        if (source / CLASS_LIST).is_file():
            place(source / CLASS_LIST, folder / CLASS_LIST, link=link)
