"""A dataset folder `{train,val[,test]}/{image,label}`, and the matching of images and labels."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from trainables.errors import Fault, InputError
from trainables.plurals import counted

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of image files, in lower case. Files with another ending are ignored."""

LABEL_ENDING = ".png"

NAMED_AT_MOST = 20
"""Maximum number of faults of one kind that are named one by one; the others are only counted."""


class Pair(NamedTuple):
    """An image and its label."""

    name: str
    image: Path
    label: Path


def find_pairs(folder: Path, split: str) -> list[Pair]:
    """Return all pairs of a split, sorted by name.

    Raises:
        InputError: every fault of `scan_pairs`.
    """
    pairs, faults = scan_pairs(folder, split)
    if faults:
        raise InputError(faults)
    return pairs


def scan_pairs(folder: Path, split: str) -> tuple[list[Pair], list[Fault]]:
    """Return the complete pairs of a split, sorted by name, and the faults of the rest.

    Faults are a missing folder, a file without its partner, two files of the same name, and a label that is not a PNG.
    Hidden files, other files and folders beside the images are ignored.
    """
    try:
        if not folder.is_dir():
            return [], [
                Fault(shown(folder), "is not a folder", "give the folder that holds train/ and val/ as data.dir")
            ]
        if not (folder / split).is_dir():
            return [], [_no_folder(folder, split, f"add {split}/image, {split}/label")]
        image_folder, image_faults = one_folder(folder / split, ("image", "images"))
        label_folder, label_faults = one_folder(folder / split, ("label", "labels"))
        if image_folder is None or label_folder is None:
            return [], image_faults + label_faults
        return _pairs(image_folder, label_folder)
    except OSError as error:
        return [], [_closed(error, folder)]


def scan_images(folder: Path, endings: tuple[str, ...] = IMAGE_ENDINGS) -> tuple[list[Path], list[Fault]]:
    """Return the images that lie directly in a folder, sorted like those of a split, and the folder's faults."""
    try:
        if not folder.is_dir():
            return [], [Fault(shown(folder), "is not a folder", "give a folder of images")]
        images, faults = _by_stem(visible_files(folder), endings, "images")
        if not images:
            faults = [_without_files(folder, endings, "image")]
        return sorted(images.values(), key=lambda path: (path.stem, path)), faults
    except OSError as error:
        return [], [_closed(error, folder)]


def scan_predictions(predictions: Path, labels: Path) -> tuple[list[tuple[Path, Path]], list[Fault]]:
    """Return predicted and true label images of the same name, sorted, and the faults of both folders."""
    found: list[dict[str, Path]] = []
    faults: list[Fault] = []
    for folder in (predictions, labels):
        try:
            if not folder.is_dir():
                faults.append(Fault(shown(folder), "is not a folder", "give a folder of label PNGs"))
                continue
            files, repeated = _by_stem(visible_files(folder), (LABEL_ENDING,), "label images")
            found.append(files)
            faults += repeated if files else [_without_files(folder, (LABEL_ENDING,), "label image")]
        except OSError as error:
            faults.append(_closed(error, folder))
    if len(found) < 2 or not all(found):
        return [], faults
    predicted, true = found
    for files, partners, what in (
        (predicted, true, f"label in {labels}"),
        (true, predicted, f"prediction in {predictions}"),
    ):
        faults += at_most(
            Fault(shown(path), f"has no {what}", "add the missing file or remove this one")
            for stem, path in files.items()
            if stem not in partners
        )
    return [(predicted[stem], true[stem]) for stem in sorted(predicted) if stem in true], faults


def visible_files(folder: Path, endings: tuple[str, ...] | None = None) -> list[Path]:
    """Return the files that are not hidden and have one of the endings, in any case, sorted.

    Dangling links are included: reading them reports the fault.

    Args:
        folder: The folder.
        endings: In lower case, each with its dot; None means any.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if (endings is None or path.suffix.lower() in endings) and not path.name.startswith(".") and not path.is_dir()
    )


def one_folder(folder: Path, names: tuple[str, ...]) -> tuple[Path | None, list[Fault]]:
    """Return the only folder of these names, or the fault that there is none or that there are several."""
    present = [name for name in names if (folder / name).is_dir()]
    if len(present) == 1:
        return folder / present[0], []
    if present:
        listed = " and ".join(f"{name}/" for name in present)
        which = "both " if len(present) == 2 else ""
        return None, [Fault(shown(folder), f"has {which}{listed}", "keep one of them")]
    others = ", ".join(f"{name}/" for name in names[1:])
    return None, [_no_folder(folder, names[0], f"add it (or {others})")]


def shown(path: Path) -> str:
    """Return a path for a one-line message: line breaks and bytes that are not text are escaped."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def at_most(faults: Iterable[Fault], limit: int = NAMED_AT_MOST) -> list[Fault]:
    """Return the first `limit` faults, and one more that counts the others."""
    listed = list(faults)
    if len(listed) <= limit:
        return listed
    left_out = len(listed) - limit
    parent = str(Path(listed[limit].where).parent)
    more = f"{counted(left_out, 'more fault')} like these"
    return [*listed[:limit], Fault(parent, more, "correct them in the same way")]


def _pairs(image_folder: Path, label_folder: Path) -> tuple[list[Pair], list[Fault]]:
    image_files, label_files = visible_files(image_folder), visible_files(label_folder)
    images, repeated_images = _by_stem(image_files, IMAGE_ENDINGS, "images")
    labels, repeated_labels = _by_stem(label_files, (LABEL_ENDING,), "labels")
    # Files with the name of a partner but an ending that is not read: they explain why the partner seems to be alone.
    no_image = {
        stem: path
        for stem, path in ((_stem(path), path) for path in image_files)
        if stem in labels and stem not in images
    }
    no_label = {
        stem: path
        for stem, path in ((_stem(path), path) for path in label_files)
        if stem not in labels and (stem in images or path.suffix.lower() in IMAGE_ENDINGS)
    }
    endings = " ".join(IMAGE_ENDINGS)
    faults = [
        *repeated_images,
        *repeated_labels,
        *at_most(
            Fault(
                shown(path),
                f"is not an image in a supported format; supported endings are {endings}",
                "save it as one of these",
            )
            for path in no_image.values()
        ),
        *at_most(
            Fault(shown(path), "is not a .png file; labels are single-channel PNG", "save the label as PNG")
            for path in no_label.values()
        ),
    ]
    if not images and not no_image:
        faults.append(_without_files(image_folder, IMAGE_ENDINGS, "image"))
    elif not labels and not no_label:
        faults.append(_without_files(label_folder, (LABEL_ENDING,), "label"))
    else:
        faults += at_most(
            Fault(
                shown(path), f"has no label {shown(label_folder / path.stem)}.png", "add the label or remove the image"
            )
            for stem, path in images.items()
            if stem not in labels and stem not in no_label
        )
        faults += at_most(
            Fault(shown(path), f"has no image {shown(image_folder / path.stem)}.*", "add the image or remove the label")
            for stem, path in labels.items()
            if stem not in images and stem not in no_image
        )
    pairs = [Pair(path.stem, path, labels[stem]) for stem, path in images.items() if stem in labels]
    return sorted(pairs), faults


def _no_folder(parent: Path, name: str, fix: str) -> Fault:
    """Return the fault that a folder does not exist, with the folders that do."""
    path = parent / name
    if path.exists() or path.is_symlink():
        return Fault(shown(path), "is not a folder", fix)
    return Fault(shown(parent), f"has no folder {name}/ (it has {_folders(parent) or 'no folder at all'})", fix)


def _without_files(folder: Path, endings: tuple[str, ...], kind: str) -> Fault:
    """Return the fault that a folder holds no file of a kind."""
    below = _folders(folder)
    what = f"holds no {kind} ({' '.join(endings)})"
    if below:
        return Fault(shown(folder), f"{what}, only the folders {below}", f"put the {kind}s directly into it")
    return Fault(shown(folder), what, f"put the {kind}s there")


def _folders(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return ", ".join(shown(Path(name)) for name in names[:10]) + (", …" if len(names) > 10 else "")


def _closed(error: OSError, folder: Path) -> Fault:
    """Return the fault that the system does not allow a folder to be read."""
    return Fault(shown(Path(error.filename or folder)), f"cannot be read ({error.strerror})", "allow it to be read")


def _by_stem(paths: list[Path], endings: tuple[str, ...], kind: str) -> tuple[dict[str, Path], list[Fault]]:
    """Return the first file of each stem with one of the endings, in any case, and a fault for each further file."""
    first: dict[str, Path] = {}
    repeated: list[Fault] = []
    for path in paths:
        if path.suffix.lower() not in endings:
            continue
        kept = first.setdefault(_stem(path), path)
        if kept is not path:
            what = f"has the same name as {shown(Path(kept.name))}; two {kind} for one sample"
            repeated.append(Fault(shown(path), what, "remove or rename one of the two"))
    return first, at_most(repeated)


def _stem(path: Path) -> str:
    """Return the name that partners share; composed and decomposed accents, which file systems mix, count as equal."""
    return unicodedata.normalize("NFC", path.stem)
