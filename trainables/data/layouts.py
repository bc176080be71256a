"""Folders that are not yet a dataset: where the images and labels of each split are, and which files are pairs."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from trainables.data.folder import one_folder
from trainables.errors import Fault

IMAGE_FOLDERS = ("image", "images")
LABEL_FOLDERS = ("label", "labels", "mask", "masks")

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class Place(NamedTuple):
    """Folders of the labels and images of one split."""

    split: str
    """`train`, `val`, `test`, or empty if there are no splits."""
    labels: Path | None
    images: Path | None


def split_of(name: str) -> str | None:
    """Return the split that the name of a folder, file or subset contains, or None.

    `train2017`, `instances_val2017` and `Validation` contain one; `default` and `strain` do not.
    """
    found = {_SPLIT_WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in _SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def find_places(source: Path) -> tuple[list[Place], list[Fault]]:
    """Return the folders with images and labels of each split, and the faults of the folders.

    It recognises `{split}/{image,label}`, `{image,label}/{split}` and `{image,label}`, with all names of splits and
    folders. For any other layout it returns nothing.
    """
    faults: list[Fault] = []

    def one_of(folder: Path, names: tuple[str, ...]) -> Path | None:
        found, wrong = one_folder(folder, names)
        faults.extend(wrong)
        return found

    by_split = _splits_in(source)
    if by_split:
        places = [
            Place(split, one_of(folder, LABEL_FOLDERS), one_of(folder, IMAGE_FOLDERS)) for split, folder in by_split
        ]
        return places, faults
    if not any((source / name).is_dir() for name in LABEL_FOLDERS):
        return [], []
    labels, images = one_of(source, LABEL_FOLDERS), one_of(source, IMAGE_FOLDERS)
    label_splits = _splits_in(labels) if labels else []
    if not label_splits:
        return [Place("", labels, images)], faults
    image_splits = dict(_splits_in(images)) if images else {}
    faults += [
        Fault(str(images), f"has no folder for {split}, which {labels} has", "add it, or remove the labels")
        for split, _ in label_splits
        if images is not None and split not in image_splits
    ]
    return [Place(split, folder, image_splits.get(split)) for split, folder in label_splits], faults


def label_affixes(labels: Collection[str], images: Collection[str]) -> tuple[str, str]:
    """Return the prefix and suffix that every label's name adds to the name of its image.

    For example, `7_mask` and `9_mask` are labels of `7` and `9`. Both are empty if there are none, or if they are not
    the same for all labels.

    Args:
        labels: Names of label files, without their endings.
        images: Names of image files, without their endings.
    """
    known = set(images)
    if not labels or not known.isdisjoint(labels):
        return "", ""
    first = min(labels)
    for image in sorted((name for name in known if name in first), key=len, reverse=True):
        before, _, after = first.partition(image)
        if all(
            name.startswith(before) and name.endswith(after) and name[len(before) : len(name) - len(after)] in known
            for name in labels
        ):
            return before, after
    return "", ""


def _splits_in(folder: Path) -> list[tuple[str, Path]]:
    """Return each split and its folder, in the order train, val, test.

    The whole name of the folder must be a word for a split.
    """
    found = [(_SPLIT_WORDS[path.name.lower()], path) for path in folder.iterdir() if path.name.lower() in _SPLIT_WORDS]
    order = list(dict.fromkeys(_SPLIT_WORDS.values()))
    return sorted(((split, path) for split, path in found if path.is_dir()), key=lambda item: order.index(item[0]))
