"""Conversion of labels of other kinds to labels for training: one channel, 8 bits, 255 where there is no class."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.config import IGNORE_INDEX
from trainables.data.census import Begin, silently
from trainables.data.class_list import read_class_list, write_class_list
from trainables.data.decoded import for_all
from trainables.data.folder import IMAGE_ENDINGS, LABEL_ENDING, at_most, scan_images, shown
from trainables.data.image_files import grey_depth, load, open_file, read_label, upright
from trainables.data.layouts import Place, find_places, label_affixes
from trainables.data.output_folder import new_folder, place
from trainables.data.palette import UNKNOWN, Palette, packed, unpacked
from trainables.data.presets import PRESETS
from trainables.data.soft_edges import SoftEdges, inner_pixels, soft_edges
from trainables.errors import Fault, InputError
from trainables.plurals import counted

MOST_CLASSES = IGNORE_INDEX
"""Maximum number of classes: ids are 0..254."""

COLOURS_NAMED = 8
"""Maximum number of a mask's colours that are named if no palette explains them."""

LABEL_SOURCE_ENDINGS = (*IMAGE_ENDINGS, ".gif")
"""Endings of label files that can be converted."""

_LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")
_PALETTES = tuple(name for name, preset in PRESETS.items() if preset.palette is not None)
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B")
_LARGEST_VALUE = 65535

Values: TypeAlias = Literal["keep", "contiguous", "spaced"]


class RawValue(NamedTuple):
    """A value that the labels hold, and its new value."""

    value: int
    becomes: int
    num_pixels: int
    num_files: int


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion."""

    values: list[RawValue]
    """All values that occur, ascending: grey values, palette indices, or the ids of the palette."""
    class_ids: tuple[int, ...]
    """Ids of the classes in the new labels, in class order."""
    num_labels: int
    num_images: int
    """Number of images that were copied or linked."""
    palette_images: Literal["indices", "colours"] | None
    """Way in which label files with their own palette were read; None if there are none."""
    soft_edges: SoftEdges | None
    """Values of the labels if they looked blended along edges; None for colour masks."""
    moved: frozenset[int]
    """Values that were replaced by the nearest class or background."""


class _Counts(NamedTuple):
    """Contents of one label file."""

    pixels: dict[int, int]
    """Value -> number of pixels."""
    inner: dict[int, int]
    """Value -> number of pixels whose four neighbours have the same value."""
    mode: str
    """Pillow's name of the pixel format."""


@dataclass(frozen=True)
class ConversionNeeded:
    """Reason why labels cannot be used for training as they are, and the arguments of `convert` that fix it."""

    reason: str
    palette: str | None = None
    """Colours by which the masks are read: the name of a preset, or `auto`."""
    class_ids: tuple[int, ...] | None = None
    """Values that are classes; None means all except 255."""
    values: Values = "keep"
    nearest: bool = False
    """True if values between the classes are replaced by the nearest class."""


@dataclass(frozen=True)
class _Plan:
    """Source and target of each file; targets are relative to the new folder."""

    labels: list[tuple[Path, Path]] = field(default_factory=list)
    images: list[tuple[Path, Path]] = field(default_factory=list)


def convert(
    source: Path,
    destination: Path,
    *,
    palette: Palette | None = None,
    values: Values = "keep",
    class_ids: Sequence[int] | None = None,
    background: Sequence[int] = (),
    nearest: bool = False,
    link: bool = False,
    begin: Begin = silently,
) -> Conversion:
    """Write the labels of `source` in a new form under `destination`, together with the images if there are any.

    Args:
        source: `{train,val,test}/{image,label}`, `{image,label}/{train,val,test}`, `{image,label}`, or a folder of
            label files; it is never changed. A prefix or suffix that all label names of a folder add to the names of
            their images is left out.
        destination: Absent or an empty folder. It is created complete or not at all.
        palette: The id of each colour, for colour masks. It also applies to label files with their own palette, whose
            palette indices are used otherwise.
        values: New class ids: the old ones, 0, 1, 2, ..., or as many values evenly spaced over 0..254.
        class_ids: Values that are classes, in class order. Default: those of the palette, or else all values except 255
            that occur in any file, ascending.
        background: Values that are no class. They become 255, and 255 stays 255 unless `class_ids` names it.
        nearest: Replace a value that is neither class nor background, or a colour outside the palette, by the nearest
            one that is, and read lossy formats too. Without `class_ids` and palette, the classes are the values that
            have areas of their own, if the labels look blended.
        link: Make hard links instead of copies of the images.
        begin: Is told about the progress.

    Raises:
        InputError: every file that cannot be read or has a colour or value that is neither class nor background;
            the destination exists; there are more than 255 classes.
    """
    plan = _plan(source.expanduser().absolute())
    class_names = palette.names if palette is not None else read_class_list(source.expanduser())
    with new_folder(destination, source) as folder:
        found = _count(plan, palette, nearest, begin)
        counts = [one.pixels for one in found]
        blended = None if palette is not None else _soft_edges(found)
        if nearest and blended is not None and class_ids is None:
            class_ids = _likely_classes(blended)
        classes = _classes(source, counts, palette, class_ids, background, blended)
        table = _table(classes, values, source)
        if not nearest:
            _check_values(plan, counts, palette, classes, background, blended)
        table = dict.fromkeys((*background, IGNORE_INDEX), IGNORE_INDEX) | table
        moved = _totals(counts).keys() - table.keys()
        if nearest:
            _add_nearest(table, counts, [*classes, *background])

        for _, target in (*plan.labels, *plan.images):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
        _write_labels(plan, folder, palette, nearest, table, begin)
        _place_images(plan, folder, link, begin)
        names = {table[value]: name for value, name in class_names.items() if value in classes}
        if names:
            write_class_list(folder, {table[value]: names.get(table[value], f"value {value}") for value in classes})

    totals = _totals(counts)
    return Conversion(
        values=[RawValue(value, table[value], *totals[value]) for value in sorted(totals)],
        class_ids=tuple(table[value] for value in classes),
        num_labels=len(plan.labels),
        num_images=len(plan.images),
        palette_images=None if all(one.mode != "P" for one in found) else "indices" if palette is None else "colours",
        soft_edges=blended,
        moved=frozenset(moved),
    )


def conversion_needed(source: Path, begin: Begin = silently) -> ConversionNeeded | None:
    """Return what keeps labels from being used for training if `convert` can fix it; None if there is nothing to fix.

    Raises:
        InputError: every fault that `convert` cannot fix.
    """
    plan = _plan(source)
    try:
        found = _count(plan, None, False, begin)
    except InputError:
        if not _readable(plan, None, True, begin):
            palette = next((name for name in _PALETTES if _readable(plan, PRESETS[name].palette, False, begin)), "auto")
            if palette == "auto":
                _colours_found(plan, begin)  # raises if there are too many
            return ConversionNeeded("its labels are colour masks", palette=palette)
        return ConversionNeeded("its labels are of a lossy format, which alters values", nearest=True)
    counts = [one.pixels for one in found]
    values = {value for pixels_of in counts for value in pixels_of}
    classes = sorted(values - {IGNORE_INDEX})
    if _soft_edges(found) is not None:
        return ConversionNeeded("its labels are blended along edges", nearest=True)
    if len(classes) == 1 and IGNORE_INDEX in values:
        reason = f"its labels contain only {classes[0]} and 255, but 255 always means ignored"
        return ConversionNeeded(reason, class_ids=(classes[0], IGNORE_INDEX), values="contiguous")
    if len(classes) > MOST_CLASSES:
        _classes(source, counts, None, None, (), None)  # raises
    if classes and classes[-1] >= IGNORE_INDEX:
        reason = f"its labels contain values up to {classes[-1]}, but ids must be in 0..254"
        return ConversionNeeded(reason, values="contiguous")
    if any(path.relative_to(source) != target for path, target in plan.labels):
        return ConversionNeeded("its labels are not at {train,val}/label/NAME-OF-IMAGE.png")
    unread: list[Fault] = []
    for path, _ in plan.labels:
        try:
            read_label(path)
        except InputError as error:
            unread += error.faults
    if not unread:
        return None
    labels = counted(len(unread), "label is", "labels are")
    return ConversionNeeded(f"{labels} not usable for training (the first {unread[0].what})")


def colours_found(source: Path, begin: Begin = silently) -> Palette:
    """Return a palette of all colours in a folder of masks, numbered from 0 in ascending order of their RGB value.

    Raises:
        InputError: files cannot be read, or there are more colours than classes can exist.
    """
    return _colours_found(_plan(source.expanduser().absolute()), begin)


def _colours_found(plan: _Plan, begin: Begin) -> Palette:
    advance = begin("collecting colours", len(plan.labels))

    def colours_of(i: int) -> set[int]:
        path = plan.labels[i][0]
        try:
            with open_file(path) as image:
                load(path, image)
                return set(np.unique(packed(np.asarray(image.convert("RGB")))).tolist())
        finally:
            advance()

    faults: list[Fault] = []
    found = sorted(set().union(*for_all(colours_of, len(plan.labels), faults)))
    if len(found) > MOST_CLASSES:
        where = shown(plan.labels[0][0].parent)
        what = f"holds masks of {counted(len(found), 'colour')} in all; there can be at most {MOST_CLASSES} classes"
        fix = (
            "use masks without soft edges and JPEG artefacts, or give the colours that are classes with --palette FILE"
        )
        faults.append(Fault(where, what, fix))
    if faults:
        raise InputError(at_most(faults))
    colours = [unpacked(number) for number in found]
    return Palette(
        {colour: i for i, colour in enumerate(colours)},
        {i: "colour " + "-".join(map(str, colour)) for i, colour in enumerate(colours)},
    )


def _readable(plan: _Plan, palette: Palette | None, nearest: bool, begin: Begin) -> bool:
    try:
        _count(plan, palette, nearest, begin)
    except InputError:
        return False
    return True


def _plan(source: Path) -> _Plan:
    """Return the files to convert and to copy; raise InputError with all faults of the folders."""
    if not source.is_dir():
        raise InputError([Fault(shown(source), "is not a folder", "give a dataset or a folder of labels")])
    plan = _Plan()
    places, faults = find_places(source)
    for split, label_folder, image_folder in places or [Place("", source, None)]:
        labels, wrong = ([], []) if label_folder is None else scan_images(label_folder, LABEL_SOURCE_ENDINGS)
        images, more = ([], []) if image_folder is None else scan_images(image_folder)
        faults += wrong + more
        before, after = label_affixes([path.stem for path in labels], [path.stem for path in images])
        target = Path(split, "label") if places else Path()
        for path in labels:
            name = path.stem[len(before) : len(path.stem) - len(after)]
            plan.labels.append((path, target / (name + LABEL_ENDING)))
        plan.images.extend((path, Path(split, "image", path.name)) for path in images)
    targets = Counter(target for _, target in plan.labels)
    faults += at_most(
        Fault(shown(path), f"would be written to {target}, like another file", "rename one of them")
        for path, target in plan.labels
        if targets[target] > 1
    )
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    return plan


def _count(plan: _Plan, palette: Palette | None, nearest: bool, begin: Begin) -> list[_Counts]:
    """Return the contents of each label file; raise InputError with the faults of all."""
    advance = begin("counting label values", len(plan.labels))

    def count(i: int) -> _Counts:
        try:
            raw, mode = _raw_values(plan.labels[i][0], palette, nearest)
        finally:
            advance()
        return _Counts(_present(np.bincount(raw.ravel())), _present(inner_pixels(raw)), mode)

    faults: list[Fault] = []
    counts = for_all(count, len(plan.labels), faults)
    if faults:
        raise InputError(at_most(faults))
    return counts


def _present(counts: NDArray[np.int64]) -> dict[int, int]:
    """Return the number of pixels of each value that occurs."""
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _soft_edges(found: list[_Counts]) -> SoftEdges | None:
    """Return the values of the labels if they look blended along edges."""
    pixels, inner = np.zeros((2, _LARGEST_VALUE + 1), np.int64)
    for one in found:
        pixels[list(one.pixels)] += np.array(list(one.pixels.values()), np.int64)
        inner[list(one.inner)] += np.array(list(one.inner.values()), np.int64)
    return soft_edges(pixels, inner)


def _likely_classes(blended: SoftEdges) -> list[int]:
    """Return the values with areas of their own; 255 is a class only in masks of 0 and 255."""
    classes = [value for value in blended.likely_classes if value != IGNORE_INDEX]
    return classes if len(classes) > 1 else list(blended.likely_classes)


def _add_nearest(table: dict[int, int], counts: list[dict[int, int]], targets: list[int]) -> None:
    """Give each value that the table lacks the new value of its nearest target, the lower of two equally near ones."""
    present = _totals(counts).keys()
    if IGNORE_INDEX in present:
        targets = [*targets, IGNORE_INDEX]
    for value in present - table.keys():
        table[value] = table[min(targets, key=lambda target: (abs(target - value), target))]


def _raw_values(path: Path, palette: Palette | None, nearest: bool) -> tuple[NDArray[Any], str]:
    """Return the value of each pixel, (h, w) integer, and the file's mode; raise InputError."""
    with open_file(path) as image:
        if image.format not in _LOSSLESS and not nearest:
            what = f"contains {image.format} data, but a lossy format changes label values"
            fix = "use the original as PNG, or give every pixel the nearest class with --nearest"
            raise InputError([Fault(shown(path), what, fix)])
        depth = grey_depth(image)
        load(path, image)
        mode = image.mode
        if palette is not None:
            return _palette_ids(path, upright(image), palette, nearest), mode
        # Each GIF file has its own palette, so the same index means different values in different files.
        grey = _grey(upright(image)) if image.format == "GIF" or mode not in _ONE_CHANNEL else None
        if grey is not None:
            return grey, "L"
        if image.format != "GIF" and mode in _ONE_CHANNEL:
            raw = np.asarray(upright(image))
            if depth < 8:  # Pillow has scaled these to 0..255
                raw = (raw > 0).astype(np.uint8) if depth == 1 else raw // np.uint8(255 // (2**depth - 1))
            if raw.dtype != np.uint8 and not 0 <= raw.min() <= raw.max() <= _LARGEST_VALUE:
                what = f"holds the values {raw.min()} to {raw.max()}; a label has at most 16 bits"
                raise InputError([Fault(shown(path), what, "save it with 8 or 16 bits")])
            return raw if raw.dtype == np.uint8 else raw.astype(np.int32), mode
        colours = np.unique(packed(np.asarray(image.convert("RGB"))))
        named = "  ".join(",".join(map(str, unpacked(int(c)))) for c in colours[:COLOURS_NAMED])
        more = f" and {len(colours) - COLOURS_NAMED} more" if len(colours) > COLOURS_NAMED else ""
    what = f"is a colour mask ({mode}), but no palette is given; it contains the colours {named}{more}"
    raise InputError([Fault(shown(path), what, "give the id of each with --palette")])


def _grey(image: Image.Image) -> NDArray[np.uint8] | None:
    """Return the value of each pixel, (h, w), of an opaque image with equal channels; None for any other image."""
    if image.mode not in ("P", "L", "LA", "RGB", "RGBA"):
        return None
    pixels = np.asarray(image.convert("RGBA"))
    grey = pixels[..., :1]
    return grey[..., 0] if (pixels[..., :3] == grey).all() and (pixels[..., 3] == 255).all() else None


def _palette_ids(path: Path, image: Image.Image, palette: Palette, nearest: bool) -> NDArray[np.int16]:
    """Return the id of each pixel of a colour mask; raise InputError for an unknown colour, unless `nearest`."""
    if image.mode in ("1", "L", "I", "I;16", "I;16B", "F"):
        what = f"has a single channel ({image.mode}), which already contains ids instead of colours"
        raise InputError([Fault(shown(path), what, "leave out --palette for such files")])
    if image.mode not in ("P", "RGB", "RGBA"):
        raise InputError([Fault(shown(path), f"has the mode {image.mode} instead of RGB", "save the mask as RGB")])
    # An image's own palette is applied first, colour by colour: this direction loses nothing.
    pixels = np.asarray(image.convert("RGBA"))
    ids = palette.nearest_ids(pixels[..., :3]) if nearest else palette.ids(pixels[..., :3])
    wrong = (ids == UNKNOWN) | (pixels[..., 3] != 255)
    if wrong.any():
        y, x = (int(index) for index in np.argwhere(wrong)[0])
        red, green, blue, alpha = pixels[y, x].tolist()
        num_colours = len(np.unique(packed(pixels[..., :3])[wrong]))
        what = f"pixel x={x}, y={y} has the colour {red},{green},{blue}, which is not in the palette"
        if alpha != 255:
            what = f"pixel x={x}, y={y} is transparent (alpha {alpha})"
        what += f" ({counted(int(wrong.sum()), 'such pixel')} of {counted(num_colours, 'colour')} in this file)"
        fix = "add the colour to the palette; if soft edges or JPEG caused such pixels, give --nearest"
        raise InputError([Fault(shown(path), what, fix)])
    return ids


def _totals(counts: Iterable[dict[int, int]]) -> dict[int, tuple[int, int]]:
    """Return the number of pixels and of files of each value."""
    totals: dict[int, tuple[int, int]] = {}
    for pixels_of in counts:
        for value, count in pixels_of.items():
            pixels, files = totals.get(value, (0, 0))
            totals[value] = (pixels + count, files + 1)
    return totals


def _classes(
    source: Path,
    counts: list[dict[int, int]],
    palette: Palette | None,
    class_ids: Sequence[int] | None,
    background: Sequence[int],
    blended: SoftEdges | None,
) -> list[int]:
    """Return the values that are classes, in order; raise InputError if there are too few or too many."""
    if class_ids is not None:
        classes = list(class_ids)
    elif palette is not None:
        classes = list(palette.class_ids)
    else:
        classes = sorted(_totals(counts).keys() - {IGNORE_INDEX})
    classes = [value for value in classes if value not in background]
    repeated = sorted({value for value in classes if classes.count(value) > 1})
    if repeated:
        raise InputError([Fault("the ids", f"contain {repeated} more than once", "give each value once")])
    if len(classes) < 2:
        what = f"holds {counted(len(classes), 'class')} besides background and 255: {classes}; at least 2 are needed"
        fix = "give the values of classes with --ids, including 255 if it is one"
        raise InputError([Fault(shown(source), what, fix)])
    if len(classes) > MOST_CLASSES:
        named = ", ".join(map(str, classes[:COLOURS_NAMED]))
        what = (
            f"holds {counted(len(classes), 'label value')} ({named}, ...); there can be at most {MOST_CLASSES} classes"
        )
        raise InputError([Fault(shown(source), what, _or_nearest("give the values of classes with --ids", blended))])
    return classes


def _or_nearest(fix: str, blended: SoftEdges | None) -> str:
    """Return a fix, extended by a second one for labels that look blended along edges."""
    if blended is None:
        return fix
    likely = ", ".join(map(str, blended.likely_classes))
    return f"{fix}; or give --nearest: the labels look blended along edges, and the classes are probably {likely}"


def _table(classes: list[int], values: Values, source: Path) -> dict[int, int]:
    """Return the new value of each class value."""
    match values:
        case "contiguous":
            return {value: position for position, value in enumerate(classes)}
        case "spaced":
            spaced = np.linspace(0, IGNORE_INDEX - 1, len(classes)).round().astype(int).tolist()
            return dict(zip(classes, spaced, strict=True))
        case "keep":
            too_large = [value for value in classes if not 0 <= value < IGNORE_INDEX]
            if too_large:
                what = f"holds the values {', '.join(map(str, too_large[:COLOURS_NAMED]))}; kept ids are 0..254"
                raise InputError([Fault(shown(source), what, "write --values contiguous or spaced")])
            return {value: value for value in classes}


def _check_values(
    plan: _Plan,
    counts: list[dict[int, int]],
    palette: Palette | None,
    classes: list[int],
    background: Sequence[int],
    blended: SoftEdges | None,
) -> None:
    """Raise InputError for every file that holds a value which is neither class, background nor 255."""
    known = {*classes, *background, IGNORE_INDEX}
    faults = []
    for (path, _), pixels_of in zip(plan.labels, counts, strict=True):
        unknown = sorted(pixels_of.keys() - known)
        if blended is not None and len(unknown) > 1:
            named = ", ".join(map(str, unknown[:COLOURS_NAMED])) + (", ..." if len(unknown) > COLOURS_NAMED else "")
            what = f"holds {counted(len(unknown), 'value')} outside the classes: {named}"
            faults.append(Fault(shown(path), what, _or_nearest("add them to --ids or to --background", blended)))
            continue
        for value in unknown:
            y, x = np.argwhere(_raw_values(path, palette, nearest=False)[0] == value)[0]
            pixels = counted(pixels_of[value], "pixel")
            what = f"holds the value {value}, which is not a class: {pixels}, the first at x={x}, y={y}"
            fix = _or_nearest(f"add it to --ids, or write --background {value}", blended)
            faults.append(Fault(shown(path), what, fix))
    if faults:
        raise InputError(at_most(faults))


def _write_labels(
    plan: _Plan, folder: Path, palette: Palette | None, nearest: bool, table: dict[int, int], begin: Begin
) -> None:
    advance = begin("writing labels", len(plan.labels))
    lookup = np.full(_LARGEST_VALUE + 1, IGNORE_INDEX, np.uint8)
    lookup[list(table)] = list(table.values())

    def write(i: int) -> None:
        try:
            path, target = plan.labels[i]
            raw, _ = _raw_values(path, palette, nearest)
            Image.fromarray(lookup[raw]).save(folder / target)
        finally:
            advance()

    faults: list[Fault] = []
    for_all(write, len(plan.labels), faults)
    if faults:
        raise InputError(at_most(faults))


def _place_images(plan: _Plan, folder: Path, link: bool, begin: Begin) -> None:
    advance = begin("linking images" if link else "copying images", len(plan.images))
    for path, target in plan.images:
        place(path, folder / target, link=link)
        advance()
