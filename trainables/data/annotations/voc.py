"""Pascal VOC, and CVAT's segmentation masks: JPEGImages, SegmentationClass and lists of names in ImageSets."""

import re
from pathlib import Path

import numpy as np

from trainables.data.annotations.annotated import Annotated, Sample
from trainables.data.folder import IMAGE_ENDINGS, at_most, scan_images, shown, visible_files
from trainables.data.image_files import load, open_file
from trainables.data.layouts import split_of
from trainables.data.palette import Colour, Palette
from trainables.errors import Fault, InputError
from trainables.plurals import counted

_VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def looks_like(folder: Path) -> bool:
    """Return True if there is a folder SegmentationClass."""
    return (folder / "SegmentationClass").is_dir()


def read(folder: Path) -> Annotated:
    """Pair masks and images by name.

    Palette masks are used as they are, including 255 on borders. Colour masks are read by labelmap.txt if it exists,
    otherwise by the colours of Pascal VOC.
    """
    masks, faults = scan_images(folder / "SegmentationClass")
    labels = {path.stem: path for path in masks}
    image_folder = next((folder / name for name in ("JPEGImages", "images") if (folder / name).is_dir()), None)
    if image_folder is None:
        fix = "export with images, or put them there"
        faults.append(Fault(shown(folder), "has SegmentationClass/ and no JPEGImages/", fix))
        raise InputError(faults)
    images = {
        path.relative_to(image_folder).with_suffix("").as_posix(): path
        for path in sorted(image_folder.rglob("*"))
        if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
    }
    nested = {
        path.relative_to(folder / "SegmentationClass").with_suffix("").as_posix(): path
        for path in sorted((folder / "SegmentationClass").rglob("*.png"))
    }
    labels = nested or labels
    if nested:
        faults = []
    notices: list[str] = []
    samples: list[Sample] = []
    splits = _splits(folder, faults)
    without: list[str] = []
    for name in splits or dict.fromkeys(labels):
        if name in images and name in labels:
            samples.append(Sample(images[name], splits.get(name), label=labels[name], where=shown(labels[name])))
        elif name in labels:
            what = f"has no image {shown(image_folder / name)}.*"
            faults.append(Fault(shown(labels[name]), what, "add the image or remove the mask"))
        elif splits.get(name) == "test" or name in images:
            without.append(name)
        else:
            faults.append(Fault(shown(folder), f"lists {name}, which has neither image nor mask", "remove the line"))
    if without:
        notices.append(f"skipped {counted(len(without), 'listed image')} without a mask; the first is {without[0]}")
    if splits and (unlisted := len(labels.keys() - splits.keys())):
        notices.append(f"skipped {counted(unlisted, 'mask')} that no list in ImageSets/Segmentation names")
    palette, names = _label_map(folder, faults)
    looks = [_look_at(sample.label, faults) for sample in samples if sample.label is not None]
    values = set().union(*(values for _, values in looks))
    if palette is None and any(is_colour for is_colour, _ in looks):
        palette = Palette({_voc_colour(i): i for i in range(256)})
        notices.append("the masks are colour images; they are read by the colours of Pascal VOC")
    if faults:
        raise InputError(at_most(list(dict.fromkeys(faults))))
    if not names and values - {255} == set(range(len(_VOC_NAMES))):
        names = dict(enumerate(_VOC_NAMES))
        notices.append(
            "the masks hold the 21 values of Pascal VOC, whose names the classes get; edit class_names if that is wrong"
        )
    return Annotated(samples, (), notices, palette, names)


def _splits(folder: Path, faults: list[Fault]) -> dict[str, str | None]:
    """Return name -> split from all lists; a list without a split adds the names that no other list has.

    The list trainval is skipped if there are other lists.
    """
    lists = folder / "ImageSets" / "Segmentation"
    if not lists.is_dir():
        return {}
    found: dict[str, str | None] = {}
    files = visible_files(lists, (".txt",))
    for path in sorted(files, key=lambda path: split_of(path.stem) is None):
        split = split_of(path.stem)
        if split is None and path.stem.lower() == "trainval" and found:
            continue
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            name = line.strip()
            if not name:
                continue
            if found.setdefault(name, split) != split and split is not None:
                what = f"lists {name}, which the list of {found[name]} also contains"
                faults.append(Fault(shown(path), what, "keep it in one of them"))
    return found


def _label_map(folder: Path, faults: list[Fault]) -> tuple[Palette | None, dict[int, str]]:
    """Return palette and names from CVAT's labelmap.txt, or else only the names from class_names.txt.

    Rows of labelmap.txt are `label:r,g,b:parts:actions`.
    """
    path = folder / "labelmap.txt"
    if not path.is_file():
        listed = folder / "class_names.txt"  # labelme's file, which begins with __ignore__ for -1
        if not listed.is_file():
            return None, {}
        lines = [line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        return None, dict(enumerate(line for line in lines if line != "__ignore__"))
    colours: dict[Colour, int] = {}
    names: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = re.fullmatch(r"\s*(.*?)\s*:\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(:.*)?", line)
        colour = tuple(int(found[i]) for i in (2, 3, 4)) if found else ()
        if found is None or max(colour) > 255:
            faults.append(
                Fault(f"{shown(path)}: line {number}", f"{line!r} is not a row label:r,g,b", "correct the row")
            )
            continue
        rgb = (colour[0], colour[1], colour[2])
        if rgb in colours:
            what = f"gives {found[1]} the same colour as {names[colours[rgb]]}"
            faults.append(Fault(f"{shown(path)}: line {number}", what, "give each label a different colour"))
            continue
        colours[rgb] = len(names)
        names[len(names)] = found[1]
    colours.setdefault(_voc_colour(255), 255)
    return Palette(colours, names), names


def _look_at(path: Path, faults: list[Fault]) -> tuple[bool, set[int]]:
    """Return whether a mask is a colour image and, if it is not, the values that it holds."""
    try:
        with open_file(path) as image:
            load(path, image)
            if image.mode in ("RGB", "RGBA"):
                return True, set()
            return False, set(np.unique(np.asarray(image)).tolist())
    except InputError as error:
        faults.extend(error.faults)
        return False, set()


def _voc_colour(value: int) -> Colour:
    """Return the colour of a value in Pascal VOC's palette.

    The bits of the value, from the lowest, go to red, green and blue in turn.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]
