"""Conversion of annotation tools' exports to a dataset for training: one module per format, one common structure.

To add a format, write a module with `looks_like(folder)` and `read(folder)`, and add its line to `FORMATS`.
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
    """Export format of one tool."""

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
    """Result of converting an export."""

    title: str
    """Title of its format."""
    num_images: dict[str, int]
    """Number of images of each split."""
    class_names: dict[int, str]
    """Label value -> name of each class; empty if the export has no names."""
    notices: tuple[str, ...]
    """Decisions that were made, one line each."""


def recognise(folder: Path) -> str | None:
    """Return the name of a folder's format, or None if it is none of `FORMATS`.

    Raises:
        InputError: it looks like several.
    """
    found = [name for name, one in FORMATS.items() if folder.is_dir() and one.looks_like(folder)]
    if len(found) > 1:
        what = f"looks like an export of {' and of '.join(FORMATS[name].title for name in found)}"
        raise InputError([Fault(shown(folder), what, f"choose one with --from {' or --from '.join(found)}")])
    return found[0] if found else None


def convert_export(
    source: Path, destination: Path, name: str, *, link: bool = False, begin: Begin = silently
) -> ConvertedExport:
    """Write an export as a dataset `{train,val[,test]}/{image,label}` with a list of its classes.

    The splits of the export are kept. If it has no train and val, a fifth of the images becomes val, in such a way that
    both contain every class as far as possible.

    Args:
        source: The folder of the export; it is never changed.
        destination: Absent or an empty folder. It is created complete or not at all.
        name: Its format, one of `FORMATS`.
        link: Make hard links instead of copies.
        begin: Is told about the progress.

    Raises:
        InputError: every fault of the export.
    """
    source = source.expanduser().absolute()
    one = FORMATS[name]
    if not source.is_dir() or not one.looks_like(source):
        raise InputError(
            [Fault(shown(source), f"is not an export of {one.title}", f"name one of {', '.join(FORMATS)}")]
        )
    annotated = one.read(source)
    with new_folder(destination, source) as folder:
        drawn: Drawn = draw_dataset(annotated, source, folder, link=link, begin=begin)
    return ConvertedExport(one.title, drawn.num_images, drawn.class_names, (*annotated.notices, *drawn.notices))
