"""A dataset folder `{train,val[,test]}/{image,label}`: which image belongs to which label."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from trainables.errors import Fault, InputError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of image files, in lower case; files with another ending are passed over."""

LABEL_ENDING = ".png"

NAMED_AT_MOST = 20
"""Faults of one kind that are named one by one; the rest is a count."""


class Pair(NamedTuple):
    """An image and its label."""

    name: str
    image: Path
    label: Path


def find_pairs(folder: Path, split: str) -> list[Pair]:
    """All pairs of a split, sorted by name.

    Raises:
        InputError: every fault of `scan_pairs`.
    """
    pairs, faults = scan_pairs(folder, split)
    if faults:
        raise InputError(faults)
    return pairs


def scan_pairs(folder: Path, split: str) -> tuple[list[Pair], list[Fault]]:
    """The complete pairs of a split, sorted by name, and what is wrong with the rest of it.

    A missing folder, a file without its partner, two files of one name and a label that is no PNG are faults.
    """
    if not folder.is_dir():
        return [], [Fault(str(folder), "is no folder", "give the folder that holds train/ and val/ as data.dir")]
    if not (folder / split).is_dir():
        found = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "no folder at all"
        return [], [Fault(str(folder), f"has no folder {split}/ (it has {found})", f"add {split}/image, {split}/label")]

    image_folder, image_faults = _one_of(folder / split, ("image", "images"))
    label_folder, label_faults = _one_of(folder / split, ("label", "labels"))
    if image_folder is None or label_folder is None:
        return [], image_faults + label_faults

    images, image_faults = _by_stem(_files(image_folder, IMAGE_ENDINGS), "images")
    labels, label_faults = _by_stem(_files(label_folder, (LABEL_ENDING,)), "labels")
    no_png = {_stem(path): path for path in _files(label_folder, IMAGE_ENDINGS) if _stem(path) not in labels}

    unlabelled = [path for stem, path in images.items() if stem not in labels and stem not in no_png]
    partnerless = [path for stem, path in labels.items() if stem not in images]
    faults = [
        *image_faults,
        *label_faults,
        *at_most(
            Fault(str(path), "is no PNG, and a lossy format alters label values", "save the label as PNG")
            for path in no_png.values()
        ),
        *at_most(
            Fault(str(path), f"has no label {label_folder / path.stem}.png", "add the label or remove the image")
            for path in unlabelled
        ),
        *at_most(
            Fault(str(path), f"has no image {image_folder / path.stem}.*", "add the image or remove the label")
            for path in partnerless
        ),
    ]
    if not images and not labels and not faults:
        endings = " ".join(IMAGE_ENDINGS)
        faults.append(Fault(str(image_folder), f"holds no image ({endings})", f"put the {split} images there"))
    pairs = [Pair(path.stem, path, labels[stem]) for stem, path in images.items() if stem in labels]
    return sorted(pairs), faults


def at_most(faults: Iterable[Fault], limit: int = NAMED_AT_MOST) -> list[Fault]:
    """The first `limit` faults, and one that counts those left out."""
    listed = list(faults)
    if len(listed) <= limit:
        return listed
    left_out = len(listed) - limit
    parent = str(Path(listed[limit].where).parent)
    return [*listed[:limit], Fault(parent, f"{left_out} more faults like these", "mend them in the same way")]


def _one_of(folder: Path, names: tuple[str, str]) -> tuple[Path | None, list[Fault]]:
    """The one folder of these names, or the fault that there is none or both."""
    present = [folder / name for name in names if (folder / name).is_dir()]
    if len(present) == 1:
        return present[0], []
    if present:
        return None, [Fault(str(folder), f"has both {names[0]}/ and {names[1]}/", "keep one of them")]
    return None, [Fault(str(folder), f"has no folder {names[0]}/", f"add it (or {names[1]}/)")]


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Visible files with one of the endings, in any case. A dangling link counts: reading it names it."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".") and not path.is_dir()
    )


def _by_stem(paths: list[Path], kind: str) -> tuple[dict[str, Path], list[Fault]]:
    """The first file of every stem, and a fault for every further one."""
    first: dict[str, Path] = {}
    repeated: list[Fault] = []
    for path in paths:
        kept = first.setdefault(_stem(path), path)
        if kept is not path:
            what = f"has the same name as {kept.name}; two {kind} for one sample"
            repeated.append(Fault(str(path), what, "remove or rename one of the two"))
    return first, at_most(repeated)


def _stem(path: Path) -> str:
    """The name that partners share: composed and decomposed accents, which file systems mix, are one."""
    return unicodedata.normalize("NFC", path.stem)
