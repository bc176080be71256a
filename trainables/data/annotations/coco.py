"""COCO: one JSON file per split, with polygons and run-length masks (https://cocodataset.org/#format-data)."""

import mmap
from pathlib import Path
from typing import Annotated as Typed

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat

from trainables.data.annotations.annotated import Annotated, Annotation, ImageIndex, Sample, read_json, split_among
from trainables.data.annotations.regions import CocoRle, Polygons, Region, box
from trainables.data.folder import at_most, shown
from trainables.errors import Fault, InputError
from trainables.plurals import counted


class _Image(BaseModel):
    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class _Category(BaseModel):
    id: int
    name: str


class _Rle(BaseModel):
    size: tuple[int, int]
    counts: str | tuple[int, ...]


def _in_pairs(numbers: list[float]) -> list[float]:
    if len(numbers) % 2:
        raise ValueError(f"a polygon has pairs of x and y, not {counted(len(numbers), 'number')}")
    return numbers


_Numbers = Typed[list[FiniteFloat], Field(min_length=6), AfterValidator(_in_pairs)]


class _Annotation(BaseModel):
    id: int | str | None = None
    image_id: int | str
    category_id: int
    segmentation: list[_Numbers] | _Rle | None = None
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | tuple[()] | None = None
    iscrowd: bool = False


class _Document(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def looks_like(folder: Path) -> bool:
    """Return True if there is a JSON file with images, annotations and categories."""
    return bool(_documents(folder))


def read(folder: Path) -> Annotated:
    """Read all such files; an image that occurs in two of them is a fault.

    Crowds are drawn first, then the other regions in the order of the file, each over those before it.
    """
    index = ImageIndex(folder)
    samples: list[Sample] = []
    classes: dict[str, None] = {}
    faults: list[Fault] = []
    notices: list[str] = []
    drawn: dict[Path, Path] = {}
    num_boxes = num_crowds = 0
    for path in _documents(folder):
        try:
            document: _Document = read_json(path, _Document)
        except InputError as error:
            faults += error.faults
            continue
        split = split_among((*path.relative_to(folder).parts[:-1], path.stem))
        names = {category.id: category.name.strip() for category in document.categories}
        classes |= dict.fromkeys(names[number] for number in sorted(names))
        if len(set(names.values())) < len(names):
            notices.append(f"{shown(path)}: categories with the same name become one class")
        of_image: dict[int | str, list[Annotation]] = {image.id: [] for image in document.images}
        for number, found in sorted(enumerate(document.annotations), key=lambda item: not item[1].iscrowd):
            where = f"{shown(path)}: annotation {number if found.id is None else found.id}"
            num_crowds += found.iscrowd
            if found.category_id not in names:
                what = f"has the category {found.category_id}, which is not among the categories"
                faults.append(Fault(where, what, "add the category, or remove the annotation"))
            elif found.image_id not in of_image:
                what = f"is of the image {found.image_id}, which is not among the images"
                faults.append(Fault(where, what, "add the image, or remove the annotation"))
            elif (region := _region(found)) is None:
                faults.append(Fault(where, "has neither a segmentation nor a box", "remove it"))
            else:
                num_boxes += not found.segmentation
                of_image[found.image_id].append(Annotation(names[found.category_id], region, where))
        for image in document.images:
            where = f"{shown(path)}: image {image.id}"
            try:
                file = index.find(image.file_name, near=path.parent, split=split)
            except LookupError as error:
                faults.append(Fault(where, str(error), "put the images there, or remove it from the file"))
                continue
            if file in drawn:
                what = f"describes {shown(file)}, which {shown(drawn[file])} also describes"
                faults.append(Fault(where, what, "keep the image in one of the files"))
            drawn[file] = path
            size = (image.height, image.width) if image.height and image.width else None
            samples.append(Sample(file, split, tuple(of_image[image.id]), size, where=where))
    if num_boxes and num_boxes == sum(len(sample.annotations) for sample in samples):
        faults.append(Fault(shown(folder), "holds only boxes and no outlines", "export polygons or masks"))
    if faults:
        raise InputError(at_most(faults))
    if num_boxes:
        annotations = counted(num_boxes, "annotation has", "annotations have")
        notices.append(f"{annotations} a box but no outline; boxes are filled")
    if num_crowds:
        crowds = counted(num_crowds, "crowd is drawn as its", "crowds are drawn as their")
        notices.append(f"{crowds} class, below everything else")
    return Annotated(samples, tuple(classes), notices)


def _region(found: _Annotation) -> Region | None:
    match found.segmentation:
        case _Rle(size=size, counts=counts):
            return CocoRle(counts, size)
        case [_, *_] as parts:
            return Polygons(tuple(tuple(zip(part[::2], part[1::2], strict=True)) for part in parts))
    return box(*found.bbox) if found.bbox else None


def _documents(folder: Path) -> list[Path]:
    """Return the files of the format, only those called instances if there are any.

    COCO itself has other files of the same form beside them.
    """
    found = [path for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]) if _has_keys(path)]
    instances = [path for path in found if "instances" in path.stem]
    return instances or found


def _has_keys(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        keys = (b'"images"', b'"annotations"', b'"categories"')
        return text[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and all(text.find(key) >= 0 for key in keys)
