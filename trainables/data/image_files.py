"""One image or label file: its size, its pixels and its faults."""

import hashlib
import re
import stat
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from trainables.config import IGNORE_INDEX
from trainables.data.folder import shown
from trainables.errors import Fault, InputError
from trainables.plurals import counted

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
_DEEP_COLOURS = re.compile(r";16([BLN])$")  # Pillow's name for data of a file with 16-bit colours
_BITS_PER_SAMPLE = 258
_EXIF_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # text chunks hold what ImageMagick copies, or XMP
_GREY_DEPTHS = {"1": 1, "L;2": 2, "L;4": 4}  # Pillow's names for PNGs of so few bits


class ImageTraits(NamedTuple):
    """Properties of an image file that its decoded pixels no longer show."""

    bits: int = 0
    """Number of bits of the largest value, if the file stores 16 bits per channel without stating its bit depth; else
    0.
    """
    turned: bool = False
    """True if the pixels are stored in another orientation than the one in which the EXIF tag says they are viewed."""
    transparent: bool = False
    """True if some pixels are not opaque."""


def read_image(path: Path, bit_depth: int = 16) -> Pixels:
    """Return an image, turned upright by its EXIF orientation: (H, W, 3) uint8 RGB.

    Of images with 16 bits per channel, the upper eight of the `bit_depth` significant bits are kept; a 12-bit TIFF
    states its own depth. Transparency is ignored.

    Args:
        path: An image file.
        bit_depth: Significant bits of images with 16 bits per channel.

    Raises:
        InputError: the file is unreadable, its values need more than `bit_depth` bits, or its pixels cannot be
            converted to 8-bit RGB without loss of range.
    """
    return read_image_and_traits(path, bit_depth)[0]


def read_image_and_traits(path: Path, bit_depth: int = 16) -> tuple[Pixels, ImageTraits]:
    """Return the same as `read_image`, and the properties of the file; raise InputError for the same reasons."""
    with _open_image(path) as image:
        raw_mode, stated = _raw_mode(image), _stated_depth(image)
        turned = _orientation(image) != 1  # before loading, because Pillow then turns a TIFF and drops its tag
        load(path, image)
        seen = upright(image)
        transparent = _is_transparent(image)
        if seen.mode.startswith("I;16"):  # convert() would clip at 255 instead of scaling
            deep: NDArray[np.integer[Any]] = np.repeat(np.asarray(seen)[..., None], 3, axis=2)
        else:
            pixels = np.asarray(seen.convert("RGB"))
            if not _DEEP_COLOURS.search(raw_mode):
                return pixels, ImageTraits(0, turned, transparent)
            deep = pixels.astype(np.uint16) << 8  # Pillow keeps the upper eight of 16 bits
            if bit_depth < 16:
                deep |= _lower_bytes(path, raw_mode)
    bits, depth = int(deep.max()).bit_length(), stated or bit_depth
    if bits > depth:
        what = f"holds the value {deep.max()}, and data.bit_depth is {depth}: at most {2**depth - 1}"
        raise InputError([Fault(shown(path), what, f"set data.bit_depth to {bits} or more")])
    return (deep >> (depth - 8)).astype(np.uint8), ImageTraits(0 if stated else bits, turned, transparent)


def read_label(path: Path) -> Pixels:
    """Return a label, turned upright by its own EXIF orientation: (H, W) uint8, raw values.

    The values of a palette PNG are its indices.

    Raises:
        InputError: the file is unreadable, or its pixels are not class ids.
    """
    with _open_label(path) as image:
        load(path, image)
        values = np.asarray(upright(image))
    if values.dtype != np.uint8 and values.max() > IGNORE_INDEX:
        what = f"is a 16-bit label that holds the value {values.max()}; ids are 0..255"
        raise InputError([Fault(shown(path), what, "renumber the classes and save it as 8-bit")])
    return values.astype(np.uint8)


def upright(image: Image.Image) -> Image.Image:
    """Return a loaded image, turned as its EXIF orientation says."""
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def pixel_digest(pixels: Pixels) -> str:
    """Return a hash of an image's size and pixels; it is equal for equal images, however their files are encoded."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def image_size(path: Path) -> Size:
    """Return height and width of an upright image, from the file's header alone.

    Raises:
        InputError: every fault of the file that its header shows.
    """
    with _open_image(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in _SWAPS_SIDES else (height, width)


def pair_size(image: Path, label: Path) -> Size:
    """Return height and width of an upright image and its label, from the files' headers alone.

    Raises:
        InputError: every fault of either file that its header shows, or the two differ in size.
    """
    faults: list[Fault] = []
    sizes: list[Size] = []
    orientations: list[int] = []
    for path, open_file in ((image, _open_image), (label, _open_label)):
        try:
            with open_file(path) as opened:
                width, height = opened.size
                orientations.append(_orientation(opened))
                # Pillow already gives the upright size of a TIFF.
                swaps = orientations[-1] in _SWAPS_SIDES and opened.format != "TIFF"
                sizes.append((width, height) if swaps else (height, width))
        except InputError as error:
            faults.extend(error.faults)
    if not faults and sizes[0] != sizes[1]:
        (h, w), (label_h, label_w) = sizes
        swapped = orientations[0] in _SWAPS_SIDES
        turned = ", turned upright according to its EXIF orientation" if swapped else ""
        what = f"is {label_w}x{label_h} pixels, its image {shown(Path(image.name))} is {w}x{h}{turned}"
        fix = "give both the same size"
        if swapped and orientations[1] == 1 and sizes[1] == (w, h):
            what += "; the label fits the image as it is stored, so it was drawn by a tool that does not read the tag"
            fix = "remove the orientation from all images of the dataset, for example with `exiftool -Orientation=`"
        faults.append(Fault(shown(label), what, fix))
    if faults:
        raise InputError(faults)
    return sizes[0]


def open_file(path: Path) -> ImageFile:
    """Open an image file and check its header; `load` reads the pixels.

    Raises:
        InputError: the file does not exist or does not hold a single image.
    """
    image: ImageFile | None = None
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            what = "is not a file"
        else:
            image = Image.open(path, formats=_FORMATS)
            if getattr(image, "is_animated", False) and image.format != "MPO":  # an MPO is a photograph and its preview
                what = "holds several frames or pages; an image has one"
            else:
                return image
    except FileNotFoundError:
        what = f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "is gone"
    except UnidentifiedImageError:
        what = "is not an image that can be read" if path.stat().st_size else "is empty (0 bytes)"
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
        what = f"is a {depth}-bit label, in which some programs read white as {2**depth - 1} and others as 255"
        fix = "save it as 8-bit with class ids"
    elif image.mode not in ("L", "P", "I", "I;16", "I;16B"):
        channels = counted(len(image.getbands()), "channel")
        what = f"has {channels} ({image.mode}); a label has a single channel with class ids"
        fix = "convert the colours to ids (`raysearch data convert`)"
    else:
        return image
    image.close()
    raise InputError([Fault(shown(path), what, fix)])


def _reason(error: Exception) -> str:
    """Return the message of an error, without the path that a system error repeats."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def grey_depth(image: ImageFile) -> int:
    """Return the bits of a grey PNG, or 8 for any other file.

    Pillow scales fewer bits to 0..255, which would change ids.
    """
    return _GREY_DEPTHS.get(str(image.tile[0].args), 8) if image.tile else 8


def _orientation(image: Image.Image) -> int:
    """Return the camera orientation as EXIF numbers it; 1 is upright and also stands for invalid values."""
    try:
        if image.format == "PNG" and not _may_have_exif(image):
            return 1
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _may_have_exif(image: Image.Image) -> bool:
    """Return True if a PNG has a chunk that can hold an orientation, without decoding its pixels."""
    with Path(image.filename).open("rb") as file:  # type: ignore[attr-defined]
        file.seek(8)
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if kind in _EXIF_CHUNKS:
                return True
            file.seek(length + 4, 1)
    return False


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    alpha = image if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") else image.convert("RGBA")
    return bool(np.asarray(alpha.getchannel(alpha.getbands()[-1])).min() < 255)


def _raw_mode(image: ImageFile) -> str:
    """Return Pillow's name for the pixel data of a file that is not loaded yet."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _stated_depth(image: ImageFile) -> int | None:
    """Return the significant bits of a TIFF that packs them without gaps, such as 12; None for whole bytes."""
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))[0] if isinstance(image, TiffImageFile) else 8
    return bits if 8 < bits < 16 else None


def _lower_bytes(path: Path, raw_mode: str) -> NDArray[np.uint8]:
    """Return the lower eight bits of 16-bit colours, by letting Pillow read them in the other byte order.

    Raises:
        InputError: Pillow has no mode for the other byte order of such a file.
    """
    order = raw_mode[-1] if raw_mode[-1] != "N" else "L" if sys.byteorder == "little" else "B"
    swapped = raw_mode[:-1] + ("B" if order == "L" else "L")
    with _open_image(path) as image:
        image.tile = [
            tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
            for tile in image.tile
        ]
        if not swapped.startswith("RGB"):
            what = "stores 16 bits per channel in a way that requires data.bit_depth: 16"
            raise InputError([Fault(shown(path), what, "save it without transparency, or with 8 bits")])
        load(path, image)
        return np.asarray(upright(image).convert("RGB"))
