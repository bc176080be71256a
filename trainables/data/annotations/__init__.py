"""Exports of annotation tools, into a dataset that trains: one file a format, one structure, one place that draws.

To add a format: a module with `looks_like(folder)` and `read(folder)`, and its line in `FORMATS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trainables.data.annotations import coco, cvat, label_studio, supervisely, voc, yolo
from trainables.data.annotations.annotated import Annotated
from trainables.data.annotations.drawing import Drawn, draw_dataset
from trainables.data.census import Begin, silently
from trainables.data.folder import shown
from trainables.data.output_folder import new_folder
from trainables.errors import Fault, InputError


class Format(NamedTuple):
    """One tool's export."""

    title: str
    looks_like: Callable[[Path], bool]
    read: Callable[[Path], Annotated]


FORMATS = {
    "coco": Format("COCO JSON", coco.looks_like, coco.read),
    "cvat": Format("CVAT for images", cvat.looks_like, cvat.read),
    "label_studio": Format("Label Studio JSON", label_studio.looks_like, label_studio.read),
    "supervisely": Format("Supervisely", supervisely.looks_like, supervisely.read),
    "voc": Format("Pascal VOC or CVAT segmentation masks", voc.looks_like, voc.read),
    "yolo": Format("YOLO polygons", yolo.looks_like, yolo.read),
}


@dataclass(frozen=True)
class ConvertedExport:
    """What was made of an export."""

    title: str
    """Of its format."""
    num_images: dict[str, int]
    """Images of every split."""
    class_names: dict[int, str]
    """Label value -> name of every class; empty where the export has no names."""
    notices: tuple[str, ...]
    """What was decided, one line each."""


def recognise(folder: Path) -> str | None:
    """Return the name of the format that a folder is in; None where it is in none of `FORMATS`.

    Raises:
        InputError: it looks like several.
    """
    found = [name for name, one in FORMATS.items() if folder.is_dir() and one.looks_like(folder)]
    if len(found) > 1:
        what = f"looks like an export of {' and of '.join(FORMATS[name].title for name in found)}"
        raise InputError([Fault(shown(folder), what, f"say which with --from {' or --from '.join(found)}")])
    return found[0] if found else None


def convert_export(
    source: Path, destination: Path, name: str, *, link: bool = False, begin: Begin = silently
) -> ConvertedExport:
    """Write an export as a dataset `{train,val[,test]}/{image,label}` with a list of its classes.

    A split that the export has is kept; without one, a fifth of the images becomes val, so that every class is in both.

    Args:
        source: The folder of the export; never changed.
        destination: Absent or empty; it is there whole or not at all.
        name: Its format, one of `FORMATS`.
        link: Hard links in place of copies.
        begin: Is told of the progress.

    Raises:
        InputError: every fault of the export.
    """
    source = source.expanduser().absolute()
    one = FORMATS[name]
    if not source.is_dir() or not one.looks_like(source):
        raise InputError([Fault(shown(source), f"is no export of {one.title}", f"name one of {', '.join(FORMATS)}")])
    annotated = one.read(source)
    with new_folder(destination, source) as folder:
        drawn: Drawn = draw_dataset(annotated, source, folder, link=link, begin=begin)
    return ConvertedExport(one.title, drawn.num_images, drawn.class_names, (*annotated.notices, *drawn.notices))
