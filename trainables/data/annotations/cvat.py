"""CVAT for images 1.1: annotations.xml with polygons, masks, boxes and ellipses."""

import xml.etree.ElementTree as ET
from pathlib import Path

from trainables.data.annotations.annotated import Annotated, Annotation, ImageIndex, Sample, split_among
from trainables.data.annotations.regions import Polygons, Region, RowRuns, box, ellipse
from trainables.data.folder import at_most, shown
from trainables.data.layouts import split_of
from trainables.errors import Fault, InputError
from trainables.plurals import counted

_FILE = "annotations.xml"


def looks_like(folder: Path) -> bool:
    """Return True if there is a file annotations.xml."""
    return (folder / _FILE).is_file()


def read(folder: Path) -> Annotated:
    """Read images and shapes; a higher z_order is drawn later.

    Lines, points and skeletons have no area and are left out.
    """
    path = folder / _FILE
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError) as error:
        raise InputError([Fault(shown(path), f"is not valid XML ({error})", "export it again")]) from error
    if root.find("track") is not None:
        fix = "export as `CVAT for images`"
        raise InputError([Fault(shown(path), "is `CVAT for video`, whose tracks are not read", fix)])
    if root.tag != "annotations" or root.find("image") is None:
        raise InputError([Fault(shown(path), "holds no image of `CVAT for images`", "export as `CVAT for images`")])
    classes = dict.fromkeys(name.text.strip() for name in root.iterfind("meta//label/name") if name.text)
    index = ImageIndex(folder)
    samples: list[Sample] = []
    faults: list[Fault] = []
    skipped: dict[str, int] = {}
    for image in root.iterfind("image"):
        name = image.get("name", "")
        where = f"{shown(path)}: image {name}"
        subset = image.get("subset", "")
        annotations: list[tuple[int, Annotation]] = []
        for number, shape in enumerate(child for child in image if child.get("label")):
            place = f"{where}: shape {number} ({shape.tag})"
            try:
                region = _region(shape)
                order = int(shape.get("z_order", "0"))
            except (KeyError, ValueError) as error:
                what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
                faults.append(Fault(place, what, "export it again"))
                continue
            label = shape.get("label", "").strip()
            if region is None:
                skipped[shape.tag] = skipped.get(shape.tag, 0) + 1
            else:
                classes.setdefault(label)
                annotations.append((order, Annotation(label, region, place)))
        try:
            file = index.find(name, split=split_of(subset))
            size = (int(image.get("height", "")), int(image.get("width", "")))
        except (LookupError, ValueError) as error:
            faults.append(Fault(where, str(error), "export with images, or put them beside annotations.xml"))
            continue
        ordered = tuple(annotation for _, annotation in sorted(annotations, key=lambda item: item[0]))
        samples.append(Sample(file, split_of(subset) or split_among(Path(name).parts[:-1]), ordered, size, where=where))
    if faults:
        raise InputError(at_most(faults))
    notices = [f"skipped {counted(count, 'shape')} of kind {tag} (no area)" for tag, count in skipped.items()]
    return Annotated(samples, tuple(classes), notices)


def _region(shape: ET.Element) -> Region | None:
    """Return the area of a shape, or None if it has none; raise KeyError or ValueError."""
    given = shape.attrib

    def number(name: str) -> float:
        return float(given[name])

    match shape.tag:
        case "polygon":
            pairs = [pair.split(",") for pair in given["points"].split(";")]
            return Polygons((tuple((float(x), float(y)) for x, y in pairs),))
        case "mask":
            runs = tuple(int(run) for run in given["rle"].split(","))
            return RowRuns(runs, *(int(given[name]) for name in ("left", "top", "width", "height")))
        case "box":
            left, top = number("xtl"), number("ytl")
            rotation = float(given.get("rotation", "0"))
            return box(left, top, number("xbr") - left, number("ybr") - top, rotation)
        case "ellipse":
            rotation = float(given.get("rotation", "0"))
            return ellipse(number("cx"), number("cy"), number("rx"), number("ry"), rotation)
    return None
