"""Label Studio: its JSON export, with polygons, brush masks, rectangles and ellipses in percent."""

from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, FiniteFloat

from trainables.data.annotations.annotated import Annotated, Annotation, ImageIndex, Sample, read_json, split_among
from trainables.data.annotations.regions import BrushRle, Polygons, Region, box, ellipse
from trainables.data.folder import at_most, shown
from trainables.errors import Fault, InputError
from trainables.plurals import counted

_KINDS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")


class _Value(BaseModel):
    points: list[tuple[FiniteFloat, FiniteFloat]] = []
    format: str | None = None
    rle: list[int] = []
    x: FiniteFloat = 0.0
    y: FiniteFloat = 0.0
    width: FiniteFloat = 0.0
    height: FiniteFloat = 0.0
    radiusX: FiniteFloat = 0.0
    radiusY: FiniteFloat = 0.0
    rotation: FiniteFloat = 0.0
    polygonlabels: list[str] = []
    brushlabels: list[str] = []
    rectanglelabels: list[str] = []
    ellipselabels: list[str] = []


class _Result(BaseModel):
    id: str | None = None
    type: str
    original_width: int | None = None
    original_height: int | None = None
    value: dict[str, Any]


class _Labelled(BaseModel):
    type: Literal["polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels"]
    original_width: int
    original_height: int
    value: _Value


class _Annotation(BaseModel):
    result: list[_Result]
    was_cancelled: bool = False
    ground_truth: bool = False


class _Task(BaseModel):
    id: int | str
    data: dict[str, Any]
    annotations: list[_Annotation]


def looks_like(folder: Path) -> bool:
    """Return True if there is a JSON file with a list of tasks."""
    return bool(_documents(folder))


def read(folder: Path) -> Annotated:
    """Read all tasks.

    If a task has several annotations, the ground truth is used, or else the last one that is not skipped.
    """
    index = ImageIndex(folder)
    samples: list[Sample] = []
    classes: dict[str, None] = {}
    faults: list[Fault] = []
    skipped: dict[str, int] = {}
    unlabelled = several = 0
    for path in _documents(folder):
        try:
            tasks: list[_Task] = read_json(path, list[_Task])
        except InputError as error:
            faults += error.faults
            continue
        for task in tasks:
            where = f"{shown(path)}: task {task.id}"
            done = [one for one in task.annotations if not one.was_cancelled]
            if not done:
                unlabelled += 1
                continue
            several += len(done) > 1
            chosen = next((one for one in done if one.ground_truth), done[-1])
            annotations, sizes = _annotations(chosen, where, classes, skipped, faults)
            if len(sizes) > 1:
                faults.append(Fault(where, f"has regions for images of several sizes: {sorted(sizes)}", "export again"))
            url = next((value for value in task.data.values() if isinstance(value, str) and _is_image(value)), "")
            try:
                file = _find(index, url)
            except LookupError as error:
                faults.append(Fault(where, str(error), f"put the images below {shown(folder)}"))
                continue
            split = split_among((*path.relative_to(folder).parts[:-1], path.stem))
            size = next(iter(sizes), None)
            samples.append(Sample(file, split, tuple(annotations), size, where=where))
    if faults:
        raise InputError(at_most(faults))
    notices = [f"skipped {counted(count, 'result')} of type {kind} (no area)" for kind, count in skipped.items()]
    if unlabelled:
        notices.append(f"skipped {counted(unlabelled, 'task')} without annotation")
    if several:
        have = counted(several, "task has", "tasks have")
        notices.append(f"{have} several annotations; the one marked as ground truth is used, otherwise the last")
    return Annotated(samples, tuple(classes), notices)


def _annotations(
    chosen: _Annotation, where: str, classes: dict[str, None], skipped: dict[str, int], faults: list[Fault]
) -> tuple[list[Annotation], set[tuple[int, int]]]:
    """Return the regions of one annotation, and the image sizes (height, width) that they say they are for."""
    annotations: list[Annotation] = []
    sizes: set[tuple[int, int]] = set()
    for number, result in enumerate(chosen.result):
        place = f"{where}: result {result.id or number}"
        if result.type not in _KINDS:
            if result.type not in ("labels", "choices"):
                skipped[result.type] = skipped.get(result.type, 0) + 1
            continue
        try:
            found = _Labelled.model_validate(result.model_dump())
        except ValueError as error:
            problem = getattr(error, "errors", list)()[0]
            at = ".".join(map(str, problem["loc"]))
            faults.append(Fault(place, f"{at}: {problem['msg'].lower()}", "export it again"))
            continue
        labels: list[str] = getattr(found.value, found.type)
        if not labels:
            faults.append(Fault(place, "has no label", "label it or remove it"))
            continue
        if found.type == "brushlabels" and found.value.format != "rle":
            faults.append(Fault(place, f"is a brush mask of format {found.value.format}", "export as JSON"))
            continue
        size = (found.original_height, found.original_width)
        sizes.add(size)
        try:
            region = _region(found, size)
        except ValueError as error:
            faults.append(Fault(place, str(error), "export it again"))
            continue
        classes.setdefault(labels[0])
        annotations.append(Annotation(labels[0], region, place))
    return annotations, sizes


def _region(found: _Labelled, size: tuple[int, int]) -> Region:
    value = found.value
    x_of, y_of = size[1] / 100, size[0] / 100
    match found.type:
        case "polygonlabels":
            return Polygons((tuple((x * x_of, y * y_of) for x, y in value.points),))
        case "brushlabels":
            return BrushRle(bytes(value.rle), size)
        case "rectanglelabels":
            sides = (value.x * x_of, value.y * y_of, value.width * x_of, value.height * y_of)
            return box(*sides, value.rotation, about="corner")
        case "ellipselabels":
            radii = (value.radiusX * x_of, value.radiusY * y_of)
            return ellipse(value.x * x_of, value.y * y_of, *radii, value.rotation)


def _find(index: ImageIndex, url: str) -> Path:
    """Return the image of a task: by its path, or without the prefix that an upload adds to its name."""
    parts = urlsplit(url)
    name = unquote(parse_qs(parts.query).get("d", [parts.path])[0])
    try:
        return index.find(name)
    except LookupError:
        stem = PurePosixPath(name).name
        _, dash, original = stem.partition("-")
        if not dash:
            raise
        return index.find(original)


def _is_image(value: str) -> bool:
    path = unquote(value).lower()
    return any(ending in path for ending in (".png", ".jp", ".bmp", ".tif", ".webp"))


def _documents(folder: Path) -> list[Path]:
    return [path for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]) if _is_tasks(path)]


def _is_tasks(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and b'"annotations"' in head and b'"data"' in head
