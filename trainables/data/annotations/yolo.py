"""YOLO: one text file per image, one line per polygon in fractions of width and height (Ultralytics segmentation)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainables.data.annotations.annotated import Annotated, Annotation, ImageIndex, Sample, split_among
from trainables.data.annotations.regions import Mask, Points, Polygons, box
from trainables.data.folder import at_most, shown
from trainables.errors import Fault, InputError
from trainables.plurals import counted

_NO_LABELS = ("classes.txt", "obj.names", "train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt")


@dataclass(frozen=True)
class _Relative:
    """A polygon in fractions of width and height."""

    points: Points

    def mask(self, height: int, width: int) -> Mask:
        """Return the pixels inside."""
        return Polygons((tuple((x * width, y * height) for x, y in self.points),)).mask(height, width)


def looks_like(folder: Path) -> bool:
    """Return True if there are text files in folders called labels."""
    return bool(_label_files(folder)) and (_settings_file(folder) is not None or _first_is_label(folder))


def read(folder: Path) -> Annotated:
    """Read the class names of the YAML file, and the label file of each image; an image without one is background."""
    names, faults = _names(folder)
    index = ImageIndex(folder)
    files = {path.with_suffix("").relative_to(folder): path for path in _label_files(folder)}
    samples: list[Sample] = []
    num_boxes = num_polygons = num_empty = 0
    used = set()
    for image in sorted(index.below(folder)):
        relative = image.relative_to(folder).with_suffix("")
        if "images" not in relative.parts:
            continue
        at = len(relative.parts) - 1 - relative.parts[::-1].index("images")
        key = Path(*relative.parts[:at], "labels", *relative.parts[at + 1 :])
        annotations: list[Annotation] = []
        if key in files:
            used.add(key)
            boxes, polygons = _read_file(files[key], names, annotations, faults)
            num_boxes, num_polygons = num_boxes + boxes, num_polygons + polygons
        num_empty += not annotations
        samples.append(Sample(image, split_among(relative.parts[:-1]), tuple(annotations), where=shown(image)))
    faults += at_most(
        Fault(shown(path), "has no image of the same name in images/ beside labels/", "add the image or remove it")
        for key, path in files.items()
        if key not in used
    )
    if num_boxes and not num_polygons:
        faults.append(Fault(shown(folder), "holds only boxes and no polygons", "export it for segmentation"))
    if faults:
        raise InputError(at_most(faults))
    notices = []
    if num_boxes:
        lines_with_boxes = counted(num_boxes, "line holds a box", "lines hold boxes")
        notices.append(f"{lines_with_boxes} instead of polygons; boxes are filled")
    if num_empty:
        notices.append(f"{counted(num_empty, 'image has', 'images have')} no label line and will be background only")
    return Annotated(samples, tuple(names.values()), notices)


def _read_file(
    path: Path, names: dict[int, str], annotations: list[Annotation], faults: list[Fault]
) -> tuple[int, int]:
    """Add the annotations of a file's lines, and return the number of boxes and of polygons."""
    num_boxes = num_polygons = 0
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        faults.append(Fault(shown(path), f"cannot be read ({error})", "replace the file"))
        return 0, 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{shown(path)}: line {number}"
        try:
            head, *numbers = line.split()
            raw, values = int(head), [float(word) for word in numbers]
        except ValueError:
            faults.append(
                Fault(where, f"{line[:60]!r} is not a class number followed by coordinates", "export it again")
            )
            continue
        if raw not in names:
            what = f"has the class {raw}, but there are names for {_numbers(names)} only"
            faults.append(Fault(where, what, "add its name to the YAML file"))
        elif not all(math.isfinite(value) and -0.01 <= value <= 1.01 for value in values):
            faults.append(Fault(where, "has coordinates outside of 0 to 1", "write fractions of width and height"))
        elif len(values) == 4:
            x, y, width, height = values
            corners = box(x - width / 2, y - height / 2, width, height).parts[0]
            annotations.append(Annotation(names[raw], _Relative(corners), where))
            num_boxes += 1
        elif len(values) < 6 or len(values) % 2:
            what = f"has {counted(len(values), 'coordinate')}; a polygon has an even number of them, at least 6"
            faults.append(Fault(where, what, "export it for segmentation"))
        else:
            points = tuple(zip(values[::2], values[1::2], strict=True))
            annotations.append(Annotation(names[raw], _Relative(points), where))
            num_polygons += 1
    return num_boxes, num_polygons


def _names(folder: Path) -> tuple[dict[int, str], list[Fault]]:
    """Return class number -> name, from the YAML file or from classes.txt."""
    path = _settings_file(folder)
    if path is None:
        listed = [path for name in ("classes.txt", "labels/classes.txt") if (path := folder / name).is_file()]
        if not listed:
            what = "has label files but no data.yaml with the class names"
            return {}, [Fault(shown(folder), what, "add a data.yaml with names: [first, second]")]
        lines = listed[0].read_text(encoding="utf-8-sig").splitlines()
        return {i: name.strip() for i, name in enumerate(lines) if name.strip()}, []
    names = _settings(path)["names"]
    pairs = enumerate(names) if isinstance(names, list) else names.items()
    found = {int(i): str(name) for i, name in pairs if str(i).isdecimal()}
    if not found:
        return {}, [Fault(f"{shown(path)}: names", "is not a list of class names", "write names: [first, second]")]
    return found, []


def _settings_file(folder: Path) -> Path | None:
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    return next((path for path in files if isinstance(_settings(path).get("names"), (list, dict))), None)


def _settings(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _label_files(folder: Path) -> list[Path]:
    """Return the text files in and below folders called labels."""
    return [
        path
        for path in sorted(folder.rglob("*.txt"))
        if "labels" in path.relative_to(folder).parts[:-1] and path.name.lower() not in _NO_LABELS
    ]


def _first_is_label(folder: Path) -> bool:
    words = _label_files(folder)[0].read_text(encoding="utf-8", errors="replace").split("\n")[0].split()
    try:
        return len(words) > 4 and int(words[0]) >= 0 and all(math.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def _numbers(names: dict[int, str]) -> str:
    return f"{min(names)} to {max(names)}" if names else "no class"
