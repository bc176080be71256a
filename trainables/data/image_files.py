"""One image or label file: its size, its pixels, and what is wrong with it."""

import hashlib
import stat
import struct
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from trainables.config import IGNORE_INDEX
from trainables.data.folder import shown
from trainables.errors import Fault, InputError

Pixels: TypeAlias = NDArray[np.uint8]
Size: TypeAlias = tuple[int, int]

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")  # no format whose decoder starts another program
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)
_GREY_DEPTHS = {"1": 1, "L;2": 2, "L;4": 4}  # how Pillow calls a PNG of so few bits


def read_image(path: Path) -> Pixels:
    """An image, turned upright as its camera says: (H, W, 3) uint8 RGB.

    Sixteen bits are cut to the upper eight; transparency is left out.

    Raises:
        InputError: the file is unreadable, or has no pixels that become 8-bit RGB without loss of range.
    """
    with _open_image(path) as image:
        load(path, image)
        turn = _UPRIGHT.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        if upright.mode.startswith("I;16"):  # convert() would cut off at 255 instead of scaling
            return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(upright.convert("RGB"))


def read_label(path: Path) -> Pixels:
    """A label: (H, W) uint8, raw values; of a palette PNG the indices.

    Raises:
        InputError: the file is unreadable, or its pixels are no class ids.
    """
    with _open_label(path) as image:
        load(path, image)
        values = np.asarray(image)
    if values.dtype != np.uint8 and values.max() > IGNORE_INDEX:
        what = f"is a 16-bit label that holds the value {values.max()}; ids are 0..255"
        raise InputError([Fault(shown(path), what, "renumber the classes and save it as 8-bit")])
    return values.astype(np.uint8)


def pixel_digest(pixels: Pixels) -> str:
    """A hash of an image's size and pixels: equal for equal images, however their files are encoded."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def pair_size(image: Path, label: Path) -> Size:
    """Height and width of an upright image and its label, from the files' headers alone.

    Raises:
        InputError: what the headers tell to be wrong with either file, or the two differ in size.
    """
    faults: list[Fault] = []
    sizes: list[Size] = []
    turned = False
    for path, open_file in ((image, _open_image), (label, _open_label)):
        try:
            with open_file(path) as opened:
                width, height = opened.size
                swaps = _orientation(opened) in _SWAPS_SIDES
                turned |= swaps
                sizes.append((width, height) if swaps else (height, width))
        except InputError as error:
            faults.extend(error.faults)
    if not faults and sizes[0] != sizes[1]:
        (h, w), (label_h, label_w) = sizes
        upright = ", turned upright as its EXIF orientation says" if turned else ""
        what = f"is {label_w}x{label_h} pixels, its image {shown(Path(image.name))} is {w}x{h}{upright}"
        faults.append(Fault(shown(label), what, "give both the same size"))
    if faults:
        raise InputError(faults)
    return sizes[0]


def open_file(path: Path) -> ImageFile:
    """The image in a file, its header read and sensible; its pixels come by `load`.

    Raises:
        InputError: there is no such file, or no single image in it.
    """
    image: ImageFile | None = None
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            what = "is no file"
        else:
            image = Image.open(path, formats=_FORMATS)
            if getattr(image, "is_animated", False) and image.format != "MPO":  # a photograph and its preview
                what = "holds several frames or pages; an image has one"
            else:
                return image
    except FileNotFoundError:
        what = f"is a link to {path.readlink()}, which is not there" if path.is_symlink() else "is gone"
    except UnidentifiedImageError:
        what = "is no image that can be read" if path.stat().st_size else "is empty (0 bytes)"
    except Image.DecompressionBombError as error:
        raise InputError([Fault(shown(path), f"is too large ({error})", "cut it into smaller images")]) from error
    except _DECODER_ERRORS as error:
        what = f"cannot be opened ({_reason(error)})"
    if image is not None:
        image.close()
    raise InputError([Fault(shown(path), what, "replace or remove the file")])


def load(path: Path, image: Image.Image) -> None:
    """Decode the pixels of an opened file.

    Raises:
        InputError: they are cut off or damaged.
    """
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise InputError(
            [Fault(shown(path), f"cannot be read ({_reason(error)})", "replace or remove the file")]
        ) from error


def _open_image(path: Path) -> ImageFile:
    image = open_file(path)
    if image.mode in ("I", "F"):
        image.close()
        raise InputError(
            [Fault(shown(path), f"has {image.mode} pixels of 32 bits", "save the image with 8 or 16 bits")]
        )
    return image


def _open_label(path: Path) -> ImageFile:
    image = open_file(path)
    depth = grey_depth(image)
    if image.format != "PNG":
        what, fix = f"holds {image.format} data; labels are single-channel PNG", "save the label as PNG"
    elif depth < 8:
        what = f"is a {depth}-bit label, whose white some read as {2**depth - 1} and some as 255"
        fix = "save it as 8-bit with class ids"
    elif image.mode not in ("L", "P", "I", "I;16", "I;16B"):
        what = f"has {len(image.getbands())} channels ({image.mode}); a label has one, of class ids"
        fix = "convert the colours to ids (`raysearch data convert`)"
    else:
        return image
    image.close()
    raise InputError([Fault(shown(path), what, fix)])


def _reason(error: Exception) -> str:
    """What an error says, without the path that an error of the system repeats."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def grey_depth(image: ImageFile) -> int:
    """Bits of a grey PNG; 8 for whatever else. Pillow scales fewer than 8 to 0..255, so ids would not survive."""
    return _GREY_DEPTHS.get(str(image.tile[0].args), 8) if image.tile else 8


def _orientation(image: Image.Image) -> int:
    """How the camera was held, as EXIF counts it; 1 is upright, and so is what makes no sense.

    Pillow turns a TIFF by itself, and would decode a whole PNG to answer; cameras write none.
    """
    if image.format in ("PNG", "TIFF"):
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if orientation in _UPRIGHT else 1
