"""Supervisely: meta.json, and for each image in DATASET/img a JSON file in DATASET/ann."""

from pathlib import Path

from pydantic import BaseModel, FiniteFloat

from trainables.data.annotations.annotated import Annotated, Annotation, Sample, read_json
from trainables.data.annotations.regions import PixelPolygon, PngBitmap, Region
from trainables.data.folder import IMAGE_ENDINGS, at_most, shown, visible_files
from trainables.data.layouts import split_of
from trainables.errors import Fault, InputError
from trainables.plurals import counted

_Point = tuple[FiniteFloat, FiniteFloat]


class _Class(BaseModel):
    title: str


class _Meta(BaseModel):
    classes: list[_Class]


class _Points(BaseModel):
    exterior: list[_Point]
    interior: list[list[_Point]] = []


class _Bitmap(BaseModel):
    data: str
    origin: tuple[int, int]


class _Object(BaseModel):
    classTitle: str
    geometryType: str | None = None
    points: _Points | None = None
    bitmap: _Bitmap | None = None


class _Size(BaseModel):
    height: int
    width: int


class _Tag(BaseModel):
    name: str


class _Image(BaseModel):
    size: _Size
    objects: list[_Object]
    tags: list[_Tag | str] = []


def looks_like(folder: Path) -> bool:
    """Return True if there are meta.json and a folder with img and ann."""
    return (folder / "meta.json").is_file() and bool(_datasets(folder))


def read(folder: Path) -> Annotated:
    """Read all datasets; the split of an image is named by its dataset, or else by a tag of the image."""
    faults: list[Fault] = []
    meta: _Meta = read_json(folder / "meta.json", _Meta)
    classes = dict.fromkeys(one.title for one in meta.classes)
    samples: list[Sample] = []
    skipped: dict[str, int] = {}
    unlabelled = 0
    for dataset in _datasets(folder):
        files = {path.name: path for path in visible_files(dataset / "ann", (".json",))}
        for image in visible_files(dataset / "img", IMAGE_ENDINGS):
            path = files.pop(f"{image.name}.json", None) or files.pop(f"{image.stem}.json", None)
            if path is None:
                unlabelled += 1
                continue
            try:
                document: _Image = read_json(path, _Image)
            except InputError as error:
                faults += error.faults
                continue
            annotations = []
            for number, found in enumerate(document.objects):
                where = f"{shown(path)}: object {number}"
                region = _region(found)
                if found.classTitle not in classes:
                    what = f"has the class {found.classTitle}, which is not in meta.json"
                    faults.append(Fault(where, what, "add it to meta.json"))
                elif region is None:
                    kind = found.geometryType or "unknown"
                    skipped[kind] = skipped.get(kind, 0) + 1
                else:
                    annotations.append(Annotation(found.classTitle, region, where))
            tags = [split_of(tag if isinstance(tag, str) else tag.name) for tag in document.tags]
            split = split_of(dataset.name) or next((tag for tag in tags if tag), None)
            size = (document.size.height, document.size.width)
            samples.append(Sample(image, split, tuple(annotations), size, where=shown(path)))
        faults += [Fault(shown(path), "has no image in img/", "add the image or remove it") for path in files.values()]
    if faults:
        raise InputError(at_most(faults))
    notices = [f"skipped {counted(count, 'object')} of kind {kind} (no area)" for kind, count in skipped.items()]
    if unlabelled:
        notices.append(f"skipped {counted(unlabelled, 'image')} without a file in ann/")
    return Annotated(samples, tuple(classes), notices)


def _region(found: _Object) -> Region | None:
    """Return the area of an object, or None if it has none."""
    if found.bitmap is not None:
        return PngBitmap(found.bitmap.data, *found.bitmap.origin)
    points = found.points
    if points is None or found.geometryType not in ("polygon", "rectangle", None):
        return None
    if found.geometryType == "rectangle" and len(points.exterior) == 2:
        (left, top), (right, bottom) = points.exterior
        return PixelPolygon(((left, top), (right, top), (right, bottom), (left, bottom)))
    return PixelPolygon(tuple(points.exterior), tuple(map(tuple, points.interior)))


def _datasets(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/img") if path.is_dir() and (path.parent / "ann").is_dir())
