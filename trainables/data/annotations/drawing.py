"""Drawing of an export into label images, with all decisions about classes, overlaps and splits."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.config import IGNORE_INDEX
from trainables.data.annotations.annotated import Annotated, Sample
from trainables.data.census import SPLITS, Begin
from trainables.data.class_list import write_class_list
from trainables.data.decoded import for_all
from trainables.data.folder import LABEL_ENDING, at_most, shown
from trainables.data.image_files import image_size, load, open_file
from trainables.data.output_folder import place
from trainables.data.palette import UNKNOWN, Palette
from trainables.data.splitting import stratified
from trainables.errors import Fault, InputError
from trainables.plurals import counted

BACKGROUND = "background"
"""Name of the class of pixels that no annotation covers."""

_BACKGROUND_NAMES = ("background", "_background_", "bg")
_VAL_SHARE = 0.2


@dataclass(frozen=True)
class Drawn:
    """Summary of the dataset that was written."""

    num_images: dict[str, int]
    class_names: dict[int, str]
    notices: list[str]


def draw_dataset(annotated: Annotated, source: Path, folder: Path, *, link: bool, begin: Begin) -> Drawn:
    """Write labels and images of all samples into a folder.

    Later annotations cover earlier ones. Pixels without annotation belong to the class background, with value 0.
    Classes without annotations are left out. Label images are used as they are, or read by the palette of the export.

    Raises:
        InputError: every annotation that cannot be drawn and every image of another size; or too few images or classes.
    """
    samples = annotated.samples
    if not samples:
        raise InputError([Fault(shown(source), "holds no annotated image", "export images with their annotations")])
    notices: list[str] = []
    by_masks = any(sample.label is not None for sample in samples)
    ids = {} if by_masks else _class_ids(annotated, source, notices)
    names = _names(samples)
    (folder / "label").mkdir()
    advance = begin("drawing labels", len(samples))

    def draw(i: int) -> NDArray[np.int64]:
        target = folder / "label" / (names[i] + LABEL_ENDING)
        try:
            if samples[i].label is not None:
                return _take_mask(samples[i], annotated.palette, target, link)
            return _draw(samples[i], ids, target)
        finally:
            advance()

    faults: list[Fault] = []
    histograms = np.array(for_all(draw, len(samples), faults)).reshape(-1, 256)
    if faults:
        raise InputError(at_most(faults))

    found = np.flatnonzero(histograms.sum(axis=0)).tolist()
    if by_masks:
        class_names = {k: name for k, name in annotated.class_names.items() if k in found}
        if any(k not in class_names for k in found if k != IGNORE_INDEX):
            class_names = {}
            notices.append("the export has no class names; edit class_names")
        if IGNORE_INDEX in found:
            notices.append("the value 255, often used for borders of objects, is ignored in loss and score")
    else:
        class_names = {k: name for name, k in ids.items() if k or 0 in found}
        if BACKGROUND in class_names.values() and BACKGROUND not in annotated.classes:
            notices.append("pixels without annotation belong to the class background (value 0)")
    num_classes = len(set(found) - {IGNORE_INDEX})
    if num_classes < 2:
        what = f"has pixels of {counted(num_classes, 'class')}; a network needs at least two"
        raise InputError([Fault(shown(source), what, "annotate more classes")])

    splits = _splits(samples, names, histograms, notices)
    _move(samples, names, splits, folder, link, begin)
    if class_names:
        write_class_list(folder, class_names)
    return Drawn({name: splits.count(name) for name in SPLITS if name in splits}, class_names, notices)


def _class_ids(annotated: Annotated, source: Path, notices: list[str]) -> dict[str, int]:
    """Return the value of each class that has an annotation; background is 0, whatever the export calls it."""
    used = {annotation.class_name for sample in annotated.samples for annotation in sample.annotations}
    own = next((name for name in annotated.classes if name.lower() in _BACKGROUND_NAMES), BACKGROUND)
    listed = [name for name in annotated.classes if name in used and name != own]
    unused = [name for name in annotated.classes if name not in used and name != own]
    if unused:
        more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
        notices.append(f"left out classes without annotations: {', '.join(unused[:5])}{more}")
    if len(listed) >= IGNORE_INDEX:
        what = f"has {counted(len(listed), 'class')} besides background; there can be at most {IGNORE_INDEX - 1}"
        raise InputError([Fault(shown(source), what, "merge or leave out classes")])
    return {name: k for k, name in enumerate([own, *listed])}


def _names(samples: Sequence[Sample]) -> list[str]:
    """Return a unique name for each sample: that of its image, with those of its folders if it would not be unique."""
    stems = Counter(sample.image.stem for sample in samples)
    names: list[str] = []
    for sample in samples:
        parts = (*sample.image.parent.parts, sample.image.stem)
        names.append(sample.image.stem if stems[sample.image.stem] == 1 else "_".join(parts[-3:]))
    counts = Counter(names)
    # Paths that differ only in the ending, or folders of the same names, are distinguished by a number.
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if counts[name] > 1:
            names[i] = f"{name}_{seen[name]}"
    return names


def _draw(sample: Sample, ids: dict[str, int], target: Path) -> NDArray[np.int64]:
    """Write the label of one sample and return the number of pixels of each value."""
    height, width = image_size(sample.image)
    if sample.size is not None and sample.size != (height, width):
        what = (
            f"is annotated as {sample.size[1]}x{sample.size[0]} pixels, but {_differing(sample.image, height, width)}"
        )
        raise InputError([Fault(sample.where, what, "export with the images that were annotated")])
    label = np.zeros((height, width), np.uint8)
    faults: list[Fault] = []
    for annotation in sample.annotations:
        try:
            label[annotation.region.mask(height, width)] = ids[annotation.class_name]
        except ValueError as error:
            faults.append(Fault(annotation.where, str(error), "correct or remove the annotation"))
    if faults:
        raise InputError(faults)
    Image.fromarray(label).save(target)
    return np.bincount(label.ravel(), minlength=256)


def _take_mask(sample: Sample, palette: Palette | None, target: Path, link: bool) -> NDArray[np.int64]:
    """Write the label image of a sample and return the number of pixels of each value.

    It is copied or linked if its values are the classes.
    """
    path = sample.label
    assert path is not None
    size = image_size(sample.image)
    with open_file(path) as image:
        load(path, image)
        values = np.asarray(image)
        mode = image.mode
        rgb = None if palette is None else np.asarray(image.convert("RGB"))
    if values.shape[:2] != size:
        what = f"is {values.shape[1]}x{values.shape[0]} pixels, but {_differing(sample.image, *size)}"
        raise InputError([Fault(shown(path), what, "give both the same size")])
    if palette is not None and rgb is not None:
        ids = palette.ids(rgb)
        if (ids == UNKNOWN).any():
            y, x = (int(index) for index in np.argwhere(ids == UNKNOWN)[0])
            what = f"pixel x={x}, y={y} has the colour {','.join(map(str, rgb[y, x]))}, which is not that of any class"
            raise InputError([Fault(shown(path), what, "add it to labelmap.txt, or correct the mask")])
        Image.fromarray(ids.astype(np.uint8)).save(target)
        return np.bincount(ids.ravel(), minlength=256)
    if mode not in ("P", "L") or path.suffix.lower() != LABEL_ENDING:
        raise InputError(
            [
                Fault(
                    shown(path),
                    f"has the mode {mode}; it must be a PNG with one byte per pixel",
                    "save it as such a PNG",
                )
            ]
        )
    place(path, target, link=link)
    return np.bincount(values.ravel(), minlength=256)


def _differing(image: Path, height: int, width: int) -> str:
    return f"its image {shown(image)} is {width}x{height}"


def _splits(
    samples: Sequence[Sample], names: Sequence[str], histograms: NDArray[np.int64], notices: list[str]
) -> list[str]:
    """Return the split of each sample: that of the export, or a drawn one if the export has no train and val."""
    given = [sample.split for sample in samples]
    if {"train", "val"} <= set(given):
        without = given.count(None)
        if without:
            images = counted(without, "image is", "images are")
            notices.append(f"{images} in no split of the export and will be in train")
        return [split or "train" for split in given]
    to_split = [i for i, split in enumerate(given) if split != "test"]
    presence = np.delete(histograms[to_split] > 0, IGNORE_INDEX, axis=1)
    shares = {"train": 1 - _VAL_SHARE, "val": _VAL_SHARE}
    chosen = stratified(presence[:, presence.any(axis=0)], [names[i] for i in to_split], shares, seed=0)
    splits = [split or "" for split in given]
    for split, indices in chosen.items():
        for index in indices:
            splits[to_split[index]] = split
    notices.append(
        f"the export has no train and val: drew {counted(len(chosen['val']), 'image')} for val, all classes in both"
    )
    return splits


def _move(
    samples: Sequence[Sample], names: Sequence[str], splits: Sequence[str], folder: Path, link: bool, begin: Begin
) -> None:
    """Move the labels to their splits, and copy or link the images."""
    advance = begin("linking images" if link else "copying images", len(samples))
    for split in set(splits):
        (folder / split / "image").mkdir(parents=True)
        (folder / split / "label").mkdir()
    for sample, name, split in zip(samples, names, splits, strict=True):
        label = name + LABEL_ENDING
        (folder / "label" / label).rename(folder / split / "label" / label)
        place(sample.image, folder / split / "image" / (name + sample.image.suffix), link=link)
        advance()
    (folder / "label").rmdir()
