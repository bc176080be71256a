"""Tests of malformed and unusual datasets: each trains with the right pixel counts or gives the right messages.

A case changes one good dataset and states either `Trains` (preflight, two iterations and an evaluation succeed) or
`Faults` (exactly these, each with the file and words of the message).
"""

import json
import math
import os
import shutil
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from raysearch.checks import check
from raysearch.checks.measure import NotMeasured
from tests.raysearch.command import Command, Ended
from tests.trainables.tiny import tiny
from trainables.config import Config
from trainables.data.preflight import inspect
from trainables.errors import InputError
from trainables.preflight import preflight
from trainables.trainer import Trainer

SIZE = (24, 32)
HALF = SIZE[0] * SIZE[1] // 2
RGB = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
LABEL = np.repeat(np.array([0, 74], np.uint8), HALF).reshape(SIZE)
GOOD = {"train": (3 * HALF, 3 * HALF), "val": (2 * HALF, 2 * HALF)}
WITH_IDS = {"data.label_class_ids": [0, 74], "train.max_iters": 2}


@dataclass(frozen=True)
class Trains:
    """Pixel counts of the splits that differ from the good dataset's, and words of every notice."""

    pixels: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Faults:
    """File (below the dataset) and words of every fault."""

    found: tuple[tuple[str, str], ...]
    values: dict[str, Any] = field(default_factory=dict)


Build = Callable[[Path], None]
CASES: list[Any] = []


def trains(pixels: dict[str, tuple[int, ...]] | None = None, *notices: str, **values: Any) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        dotted = {name.replace("__", "."): value for name, value in values.items()}
        CASES.append(pytest.param(build, Trains(pixels or {}, notices, dotted), id=build.__name__))
        return build

    return add


def faults(*found: tuple[str, str], **values: Any) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        dotted = {name.replace("__", "."): value for name, value in values.items()}
        CASES.append(pytest.param(build, Faults(found, dotted), id=build.__name__))
        return build

    return add


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    image.save(path, **options)


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def replace_image(data: Path, ending: str, pixels: Any, **options: Any) -> None:
    """Replace training image b by another file."""
    (data / "train/image/b.png").unlink()
    save(data / f"train/image/b.{ending}", pixels, **options)


def write_pair(data: Path, split: str, name: str, label: np.ndarray) -> None:
    image = np.resize(RGB, (*label.shape, 3)) ^ (split == "val")  # no image is in both splits
    save(data / split / "image" / f"{name}.png", image)
    save(data / split / "label" / f"{name}.png", label)


def rename(data: Path, name: str, label_name: str | None = None) -> None:
    """Rename training pair b."""
    (data / "train/image/b.png").rename(data / "train/image" / f"{name}.png")
    (data / "train/label/b.png").rename(data / "train/label" / f"{label_name or name}.png")


def png(width: int, height: int, depth: int, colour: int, raw: bytes, interlace: int = 0) -> bytes:
    """Return a PNG that is assembled by hand, because Pillow cannot write it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def interlaced(pixels: np.ndarray) -> bytes:
    """Return an Adam7 PNG of grey or RGB pixels."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right]]
    height, width = pixels.shape[:2]
    return png(width, height, 8, 0 if pixels.ndim == 2 else 2, b"".join(rows), interlace=1)


def rotated_jpeg(path: Path, orientation: Any) -> None:
    """Write a photograph that must be rotated: it is stored with height 32 and width 24, and is 24 x 32 upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(path, np.rot90(RGB), exif=exif)


# Folders.


@trains()
def the_good_dataset(data: Path) -> None:
    pass


@faults(("", "is not a folder"))
def no_dataset(data: Path) -> None:
    data.rename(data.with_name("elsewhere"))


@faults(("", "is not a folder"))
def the_dataset_is_a_file(data: Path) -> None:
    data.rename(data.with_name("elsewhere"))
    data.write_bytes(b"PK\x03\x04")


@faults(("", "has no folder train/ (it has no folder at all)"), ("", "has no folder val/ (it has no folder at all)"))
def an_empty_dataset(data: Path) -> None:
    for split in ("train", "val"):
        (data / split).rename(data.with_name(split))


@faults(("", "has no folder val/ (it has train, validation)"))
def val_under_another_name(data: Path) -> None:
    (data / "val").rename(data / "validation")


@faults(("val", "is not a folder"))
def val_is_a_file(data: Path) -> None:
    (data / "val").rename(data.with_name("val"))
    (data / "val").touch()


@faults(("train", "has no folder image/ (it has label)"))
def no_image_folder(data: Path) -> None:
    (data / "train/image").rename(data.with_name("image"))


@faults(("train", "has no folder image/ (it has Image, label)"))
def an_image_folder_in_upper_case(data: Path) -> None:
    (data / "train/image").rename(data / "train/Image")


@faults(("train/image", "is not a folder"))
def the_image_folder_is_a_file(data: Path) -> None:
    (data / "train/image").rename(data.with_name("image"))
    (data / "train/image").touch()


@faults(("train", "has both image/ and images/"))
def two_image_folders(data: Path) -> None:
    save(data / "train/images/a.png", RGB)


@faults(("train", "has no folder label/ (it has image, masks)"))
def labels_under_another_name(data: Path) -> None:
    (data / "train/label").rename(data / "train/masks")


@trains()
def folders_in_plural(data: Path) -> None:
    (data / "train/image").rename(data / "train/images")
    (data / "val/label").rename(data / "val/labels")


@faults(("train/image", "holds no image (.png .jpg"))
def an_empty_image_folder(data: Path) -> None:
    for path in (data / "train/image").iterdir():
        path.unlink()


@faults(("val/label", "holds no label (.png)"))
def an_empty_label_folder(data: Path) -> None:
    for path in (data / "val/label").iterdir():
        path.unlink()


@faults(("val/image", "holds no image"))
def an_empty_split(data: Path) -> None:
    for path in (data / "val").glob("*/*"):
        path.unlink()


@faults(("train/image", "only the folders berlin, rome; put the images directly into it"))
def images_one_folder_deeper(data: Path) -> None:
    for path in (data / "train/image").glob("*.png"):
        city = path.parent / ("rome" if path.stem == "a" else "berlin")
        city.mkdir(exist_ok=True)
        path.rename(city / path.name)


@trains()
def a_folder_beside_the_images(data: Path) -> None:
    save(data / "train/image/thumbnails/a.png", RGB)
    (data / "train/label/b.png.d").mkdir()


@faults(("train/image/b.png", "has no label"))
def a_folder_named_like_a_label(data: Path) -> None:
    (data / "train/label/b.png").unlink()
    (data / "train/label/b.png").mkdir()


@trains()
def the_dataset_behind_a_link(data: Path) -> None:
    data.symlink_to(data.rename(data.with_name("elsewhere")))


@trains()
def linked_folders_and_files(data: Path) -> None:
    (data / "train/image").symlink_to((data / "train/image").rename(data.with_name("pictures")))
    (data / "train/label/b.png").symlink_to((data / "train/label/b.png").rename(data.with_name("mask.png")))


@trains({"val": GOOD["train"]}, *(f"/val/image/{name}.png" for name in "abc"))
def val_is_a_link_to_train(data: Path) -> None:
    (data / "val").rename(data.with_name("val"))
    (data / "val").symlink_to("train")


@faults(("train/image/b.png", "is a link to gone.png, which does not exist"))
def a_dangling_link(data: Path) -> None:
    (data / "train/image/b.png").unlink()
    (data / "train/image/b.png").symlink_to("gone.png")


@faults(("train/label/b.png", "cannot be opened (Too many levels of symbolic links)"))
def a_link_to_itself(data: Path) -> None:
    (data / "train/label/b.png").unlink()
    (data / "train/label/b.png").symlink_to("b.png")


@faults(("train/image", "is not a folder"))
def a_dangling_image_folder(data: Path) -> None:
    (data / "train/image").rename(data.with_name("image"))
    (data / "train/image").symlink_to("gone")


@faults(("train/image/b.png", "is not a file"))
def a_pipe(data: Path) -> None:
    (data / "train/image/b.png").unlink()
    os.mkfifo(data / "train/image/b.png")


# Partners and names.


@faults(("train/image/b.png", "has no label"))
def an_image_without_label(data: Path) -> None:
    (data / "train/label/b.png").unlink()


@faults(("val/label/b.png", "has no image"))
def a_label_without_image(data: Path) -> None:
    (data / "val/image/b.png").unlink()


@faults(("train/image/b.png", "has no label"), ("train/label/b_mask.png", "has no image"))
def a_label_with_a_suffix(data: Path) -> None:
    (data / "train/label/b.png").rename(data / "train/label/b_mask.png")


@faults(("train/image/b.png", "has the same name as b.jpg; two images for one sample"))
def two_images_of_one_stem(data: Path) -> None:
    save(data / "train/image/b.jpg", RGB)


@faults(("train/label/b.png", "has the same name as b.PNG; two labels for one sample"))
def two_labels_of_one_stem(data: Path) -> None:
    save(data / "train/label/b.PNG", LABEL)


@faults(("train/label/b.jpg", "is not a .png file"))
def a_label_saved_as_jpeg(data: Path) -> None:
    (data / "train/label/b.png").unlink()
    save(data / "train/label/b.jpg", LABEL)


@faults(("train/label/b.npy", "is not a .png file"))
def a_label_saved_as_array(data: Path) -> None:
    (data / "train/label/b.png").unlink()
    np.save(data / "train/label/b.npy", LABEL)


@faults(("train/image/b.gif", "is not an image in a supported format; supported endings are .png .jpg"))
def an_image_whose_ending_is_not_read(data: Path) -> None:
    replace_image(data, "gif", RGB)


@trains()
def endings_in_upper_case(data: Path) -> None:
    replace_image(data, "JPG", RGB)
    (data / "train/image/a.png").rename(data / "train/image/a.PNG")
    (data / "train/label/a.png").rename(data / "train/label/a.Png")


@trains()
def files_of_the_system(data: Path) -> None:
    for part in ("image", "label"):
        for name in (".DS_Store", "._a.png", ".png", "Thumbs.db", "desktop.ini", "a.json", "README"):
            (data / "train" / part / name).write_bytes(b"\0\1\2")


@trains()
def spaces_quotes_and_brackets_in_names(data: Path) -> None:
    rename(data, ' it\'s "b" [red] {x} $HOME * ?.v1.2 ')


@trains()
def a_line_break_in_a_name(data: Path) -> None:
    rename(data, "b\nc\td")


@trains()
def a_name_that_is_no_text(data: Path) -> None:
    rename(data, os.fsdecode(b"caf\xe9"))


@trains()
def accents_composed_and_decomposed(data: Path) -> None:
    rename(data, *(unicodedata.normalize(form, "Zürich 街") for form in ("NFC", "NFD")))


@faults(("train/image/" + unicodedata.normalize("NFC", "é.png"), "has the same name as"))
def one_name_in_two_encodings(data: Path) -> None:
    for form in ("NFC", "NFD"):
        save(data / "train/image" / unicodedata.normalize(form, "é.png"), RGB)
    save(data / "train/label/é.png", LABEL)


@trains()
def a_name_of_250_letters(data: Path) -> None:
    rename(data, "b" * 250)


@trains()
def a_name_like_an_option(data: Path) -> None:
    rename(data, "--help")


# Files that are no images, or not whole.


@faults(("train/image/b.png", "is empty (0 bytes)"))
def an_empty_image(data: Path) -> None:
    write(data / "train/image/b.png", b"")


@faults(("train/label/b.png", "is empty (0 bytes)"))
def an_empty_label(data: Path) -> None:
    write(data / "train/label/b.png", b"")


@faults(("train/image/b.png", "is empty (0 bytes)"), ("train/label/b.png", "is not an image that can be read"))
def both_of_a_pair_broken(data: Path) -> None:
    write(data / "train/image/b.png", b"")
    write(data / "train/label/b.png", b"\0" * 99)


@faults(("train/image/b.png", "is not an image that can be read"))
def a_text_file_named_png(data: Path) -> None:
    write(data / "train/image/b.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


@faults(("train/image/b.png", "is not an image that can be read"))
def a_postscript_program_named_png(data: Path) -> None:
    write(data / "train/image/b.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n%%EndComments\nshowpage\n")


@faults(("train/image/b.jpg", "cannot be read (image file is truncated"))
def a_truncated_jpeg(data: Path) -> None:
    replace_image(data, "jpg", RGB, quality=95)
    path = data / "train/image/b.jpg"
    write(path, path.read_bytes()[:-400])


@faults(("train/image/b.png", "cannot be read ("))
def a_truncated_png(data: Path) -> None:
    path = data / "train/image/b.png"
    write(path, path.read_bytes()[:-500])


@faults(("val/label/b.png", "cannot be read ("))
def a_truncated_label(data: Path) -> None:
    path = data / "val/label/b.png"
    write(path, path.read_bytes()[:-30])


@faults(("train/image/b.png", "cannot be read ("))
def a_png_with_damaged_pixels(data: Path) -> None:
    path = data / "train/image/b.png"
    damaged = bytearray(path.read_bytes())
    damaged[300:400] = b"\xff" * 100
    write(path, bytes(damaged))


@faults(("train/image/b.png", "is not an image that can be read"))
def a_png_without_pixels(data: Path) -> None:
    write(data / "train/image/b.png", png(0, 0, 8, 2, b""))


@faults(("train/image/b.png", "is too large (Image size (3600000000 pixels) exceeds limit"))
def a_decompression_bomb(data: Path) -> None:
    write(data / "train/image/b.png", png(60000, 60000, 8, 2, b"\0" * 999))


@trains()
def garbage_after_the_end(data: Path) -> None:
    for path in (data / "train/image/b.png", data / "train/label/b.png"):
        write(path, path.read_bytes() + b"garbage" * 99)


@faults(("train/image", "10 more faults like these"), *((f"train/image/{i:02d}.png", "is empty") for i in range(20)))
def thirty_empty_images(data: Path) -> None:
    for i in range(30):
        write(data / f"train/image/{i:02d}.png", b"")
        save(data / f"train/label/{i:02d}.png", LABEL)


@faults(
    ("train/image/a.png", "is empty"),
    ("train/label/b.png", "has 3 channels (RGB)"),
    ("train/image/c.png", "has no label"),
    ("val/label/a.png", "is 9x9 pixels, its image a.png is 32x24; give both the same size"),
    ("val/label/b.jpg", "is not a .png file"),
)
def something_wrong_everywhere(data: Path) -> None:
    write(data / "train/image/a.png", b"")
    save(data / "train/label/b.png", RGB)
    (data / "train/label/c.png").unlink()
    save(data / "val/label/a.png", np.zeros((9, 9)))
    (data / "val/label/b.png").rename(data / "val/label/b.jpg")


# What the images hold.


@trains()
def a_grey_image(data: Path) -> None:
    replace_image(data, "png", RGB[..., 0])


@trains()
def a_grey_image_with_alpha(data: Path) -> None:
    replace_image(data, "png", Image.fromarray(RGB).convert("LA"))


@trains(None, "train: of 3 images, 1 with transparent pixels")
def an_image_with_alpha(data: Path) -> None:
    replace_image(data, "png", np.dstack([RGB, RGB[..., 0]]))


@trains(None, "train: of 3 images, 1 with transparent pixels")
def a_palette_image_with_transparency(data: Path) -> None:
    replace_image(data, "png", Image.fromarray(RGB).quantize(16), transparency=3)


@trains()
def a_black_and_white_image(data: Path) -> None:
    replace_image(data, "png", Image.fromarray(RGB).convert("1"))


@trains()
def a_cmyk_jpeg(data: Path) -> None:
    replace_image(data, "jpg", Image.fromarray(RGB).convert("CMYK"))


@trains()
def a_grey_image_of_16_bits(data: Path) -> None:
    replace_image(data, "png", Image.fromarray(RGB[..., 0].astype(np.uint16) * 257))


@trains()
def a_colour_image_of_16_bits(data: Path) -> None:
    cv2.imwrite(str(data / "train/image/b.png"), RGB.astype(np.uint16) * 257)


@faults(("train/image/b.tif", "has I pixels of 32 bits"))
def an_image_of_32_bits(data: Path) -> None:
    replace_image(data, "tif", Image.fromarray(RGB[..., 0].astype(np.int32)))


@faults(("train/image/b.tif", "has F pixels of 32 bits"))
def an_image_of_floats(data: Path) -> None:
    replace_image(data, "tif", Image.fromarray(RGB[..., 0].astype(np.float32)))


@trains()
def bmp_tiff_and_webp(data: Path) -> None:
    for name, ending in (("a", "bmp"), ("b", "tiff"), ("c", "webp")):
        (data / f"train/image/{name}.png").unlink()
        save(data / f"train/image/{name}.{ending}", RGB)


@trains()
def a_progressive_jpeg_named_png(data: Path) -> None:
    save(data / "train/image/b.png", RGB, format="JPEG", progressive=True)


@trains()
def an_interlaced_pair(data: Path) -> None:
    write(data / "train/image/b.png", interlaced(RGB))
    write(data / "train/label/b.png", interlaced(LABEL))


@faults(("train/image/b.png", "holds several frames or pages"))
def an_animated_gif_named_png(data: Path) -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(data / "train/image/b.png", format="GIF", save_all=True, append_images=frames[1:])


@faults(("train/image/b.png", "holds several frames or pages"), ("train/label/c.png", "holds several frames"))
def animated_pngs(data: Path) -> None:
    for path, pixels in ((data / "train/image/b.png", RGB), (data / "train/label/c.png", LABEL)):
        frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
        frames[0].save(path, save_all=True, append_images=frames[1:])


@faults(("train/image/b.tif", "holds several frames or pages"))
def a_tiff_of_several_pages(data: Path) -> None:
    replace_image(data, "tif", RGB, save_all=True, append_images=[Image.fromarray(255 - RGB)])


@trains()
def a_photograph_with_its_preview(data: Path) -> None:
    replace_image(data, "jpg", RGB, format="MPO", save_all=True, append_images=[Image.fromarray(RGB[:9, :9])])


@trains(None, "train: of 3 images, 1 turned upright")
def a_photograph_on_its_side(data: Path) -> None:
    (data / "train/image/b.png").unlink()
    rotated_jpeg(data / "train/image/b.jpg", 6)


@faults(
    ("train/label/b.png", "is 24x32 pixels, its image b.jpg is 32x24, turned upright according to its EXIF orientation")
)
def a_label_of_a_photograph_as_it_is_stored(data: Path) -> None:
    (data / "train/image/b.png").unlink()
    rotated_jpeg(data / "train/image/b.jpg", 6)
    save(data / "train/label/b.png", np.rot90(LABEL))


@trains()
def orientations_that_make_no_sense(data: Path) -> None:
    for name, exif in (
        ("a", b"Exif\0\0garbage"),
        ("b", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0"),
    ):
        (data / f"train/image/{name}.png").unlink()
        save(data / f"train/image/{name}.jpg", RGB, exif=exif)


# What the labels hold.


@faults(
    (
        "train/label/b.png",
        "has 3 channels (RGB); a label has a single channel with class ids; convert the colours to ids",
    )
)
def a_colour_label(data: Path) -> None:
    save(data / "train/label/b.png", np.dstack([LABEL] * 3))


@faults(("train/label/b.png", "has 4 channels (RGBA)"))
def a_colour_label_with_alpha(data: Path) -> None:
    save(data / "train/label/b.png", np.dstack([LABEL] * 4))


@faults(("train/label/b.png", "has 2 channels (LA)"))
def a_grey_label_with_alpha(data: Path) -> None:
    save(data / "train/label/b.png", Image.fromarray(LABEL).convert("LA"))


@trains()
def a_palette_label_counts_by_its_indices(data: Path) -> None:
    label = Image.fromarray(LABEL)
    label.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    save(data / "train/label/b.png", label)


@trains()
def a_label_with_a_transparent_value(data: Path) -> None:
    save(data / "train/label/b.png", LABEL, transparency=0)


@faults(("train/label/b.png", "is a 1-bit label, in which some programs read white as 1 and others as 255"))
def a_label_of_1_bit(data: Path) -> None:
    save(data / "train/label/b.png", Image.fromarray(LABEL > 0))


@faults(("train/label/b.png", "is a 2-bit label, in which some programs read white as 3 and others as 255"))
def a_label_of_2_bits(data: Path) -> None:
    write(data / "train/label/b.png", png(32, 24, 2, 0, b"\0\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b" * 24))


@faults(("train/label/b.png", "is a 4-bit label, in which some programs read white as 15 and others as 255"))
def a_label_of_4_bits(data: Path) -> None:
    write(data / "train/label/b.png", png(32, 24, 4, 0, (b"\0" + b"\x01" * 16) * 24))


@trains()
def a_label_of_16_bits_with_small_values(data: Path) -> None:
    save(data / "train/label/b.png", Image.fromarray(LABEL.astype(np.uint16)))


@faults(("train/label/b.png", "is a 16-bit label that holds the value 19018"))
def a_label_of_16_bits_with_large_values(data: Path) -> None:
    save(data / "train/label/b.png", Image.fromarray(LABEL.astype(np.uint16) * 257))


@faults(("train/label/b.png", "holds JPEG data; labels are single-channel PNG"))
def a_jpeg_label_named_png(data: Path) -> None:
    save(data / "train/label/b.png", LABEL, format="JPEG")


@faults(("train/label/b.png", "holds TIFF data"))
def a_tiff_label_named_png(data: Path) -> None:
    save(data / "train/label/b.png", LABEL, format="TIFF")


@faults(("train/label/b.png", "is 32x23 pixels, its image b.png is 32x24"))
def a_label_that_lacks_a_row(data: Path) -> None:
    save(data / "train/label/b.png", LABEL[:-1])


@trains({"train": (5 * HALF, HALF)}, "train: class 0 has 5.0 times")
def some_labels_of_one_class(data: Path) -> None:
    for name in ("b", "c"):
        save(data / f"train/label/{name}.png", LABEL * 0)


@trains({"train": (6 * HALF, 0)}, "train: class 1 (raw value 74) has no pixels; it cannot be learned")
def one_class_only_in_train(data: Path) -> None:
    for name in ("a", "b", "c"):
        save(data / f"train/label/{name}.png", LABEL * 0)


@trains({"val": (0, 4 * HALF)}, "val: class 0 (raw value 0) has no pixel")
def a_class_absent_from_val(data: Path) -> None:
    for name in ("a", "b"):
        save(data / f"val/label/{name}.png", LABEL * 0 + 74)


@faults(("data, split train", "no label contains a pixel of any class"))
def all_ignored_in_train(data: Path) -> None:
    for name in ("a", "b", "c"):
        save(data / f"train/label/{name}.png", LABEL * 0 + 255)


@faults(
    ("data, split train", "list values of classes; the labels contain 0, 74"),
    ("data, split val", "list values of classes; the labels contain 0, 74"),
    data__label_class_ids=[1, 2],
)
def ids_that_no_label_has(data: Path) -> None:
    pass


@trains({"train": (2 * HALF, 2 * HALF)})
def one_label_all_ignored(data: Path) -> None:
    save(data / "train/label/b.png", LABEL * 0 + 255)


@trains({"val": (2 * HALF - 50, 2 * HALF - 10)})
def ignored_pixels(data: Path) -> None:
    label = LABEL.copy()
    label.flat[:50] = label.flat[-10:] = 255
    save(data / "val/label/b.png", label)


@trains({"train": (3 * HALF - 7, 3 * HALF)}, "train: label value 9 is not in label_class_ids and is ignored: 7 pixels")
def values_outside_the_ids(data: Path) -> None:
    label = LABEL.copy()
    label.flat[:7] = 9
    save(data / "train/label/b.png", label)


@trains(
    {"train": (3 * HALF, HALF), "val": (2 * HALF, 0)},
    "val: class 1 (raw value 128) has no pixel",
    data__label_class_ids=[0, 74, 128],
    data__reduce_zero_label=True,
)
def a_zero_label_that_is_no_class(data: Path) -> None:
    save(data / "train/label/b.png", np.where(LABEL == 0, 128, LABEL))


# Sizes and numbers.


@trains({"train": (1, 1), "val": (1, 0)}, "val: class 1", "train: 2 of 2 images are smaller than the crop")
def images_of_one_pixel(data: Path) -> None:
    only(data, train=[np.array([[0]]), np.array([[74]])], val=[np.array([[0]])])


@trains({"train": (151, 150), "val": (41, 40)}, "train: 1 of 1 image is smaller than the crop")
def images_of_one_row_and_one_column(data: Path) -> None:
    only(data, train=[np.arange(301)[None] // 150 % 2 * 74], val=[np.arange(81)[:, None] // 40 % 2 * 74])


@trains({"train": (2**15, 2**15), "val": (2**15, 2**15)})
def images_of_256x256(data: Path) -> None:
    label = np.arange(2**16).reshape(256, 256) // 2**15 * 74
    only(data, train=[label], val=[label])


@trains({"train": (8000 * 8, 8000 * 8), "val": (8000 * 8, 8000 * 8)})
def images_8000_pixels_wide(data: Path) -> None:
    label = np.arange(16)[:, None].repeat(8000, axis=1) // 8 * 74
    only(data, train=[label], val=[label])


@trains(
    {"train": (3 * HALF + 31 * 3 + 60, 3 * HALF + 31 * 2 + 60), "val": (2 * HALF + 1, 2 * HALF)},
    "train: 2 of 5 images are smaller than the crop",
)
def images_of_many_sizes(data: Path) -> None:
    write_pair(data, "train", "odd", np.arange(5)[:, None].repeat(31, axis=1) // 3 * 74)
    write_pair(data, "train", "tall", np.arange(120)[:, None] // 60 * 74)
    write_pair(data, "val", "dot", np.array([[0]]))


@trains({"train": (HALF, HALF), "val": (HALF, HALF)})
def fewer_images_than_a_batch(data: Path) -> None:
    only(data, train=[LABEL], val=[LABEL])


def only(data: Path, train: list[np.ndarray], val: list[np.ndarray]) -> None:
    """Replace the dataset by these labels, each with an image of its size."""
    for path in data.glob("*/*/*"):
        path.unlink()
    for split, labels in (("train", train), ("val", val)):
        for i, label in enumerate(labels):
            write_pair(data, split, str(i), label)


# The checks.


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for split, names in (("train", "abc"), ("val", "ab")):
        for name in names:
            write_pair(folder, split, name, LABEL)
    return folder


def config_of(data: Path, values: dict[str, Any]) -> Config:
    return tiny({**WITH_IDS, "data.dir": str(data), **values})


@pytest.mark.parametrize(("build", "expected"), CASES)
def test_it_trains_or_is_told_what_is_wrong(
    build: Build, expected: Trains | Faults, good: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(good, tmp_path / "data"))
    build(data)
    config = config_of(data, expected.values)
    if isinstance(expected, Faults):
        with pytest.raises(InputError) as caught:
            preflight(config)
        assert_faults(caught.value, expected, data)
    else:
        assert_trains(config, expected)


def assert_faults(error: InputError, expected: Faults, data: Path) -> None:
    told = [str(fault) for fault in error.faults]
    assert len(told) == len(expected.found), told
    for file, words in expected.found:
        where = file if file.startswith("data, ") else str(data / file)
        assert sum(fault.where == where and words in str(fault) for fault in error.faults) == 1, (file, words, told)
    assert all(fault.fix and str(fault).isprintable() for fault in error.faults)


def assert_trains(config: Config, expected: Trains) -> None:
    notices = preflight(config)
    assert len(notices) == len(expected.notices), notices
    for words in expected.notices:
        assert sum(words in notice for notice in notices) == 1, (words, notices)
    pixels = GOOD | expected.pixels
    found = inspect(config.data, config.data.augmentation.crop_size)
    assert {split: summary.class_pixels for split, summary in found.items()} == pixels
    trainer = Trainer(config)
    report = trainer.run_to_report()
    assert trainer.done
    assert math.isfinite(report["loss"])
    assert 0.0 <= report["miou"] <= 1.0
    assert tuple(trainer.evaluate().counts.sum(axis=1)) == pixels["val"]


def test_the_table_has_no_two_cases_of_a_name_and_enough_of_both_kinds() -> None:
    names = [case.id for case in CASES]
    assert len(set(names)) == len(names)
    kinds = [type(case.values[1]) for case in CASES]
    assert min(kinds.count(Trains), kinds.count(Faults)) >= 40


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed", ["", "train", "train/image", "train/image/b.png", "val/label/a.png"])
def test_what_may_not_be_read(closed: str, good: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(good, tmp_path / "data"))
    mode = (data / closed).stat().st_mode
    (data / closed).chmod(0)
    try:
        with pytest.raises(InputError) as caught:
            preflight(config_of(data, {}))
    finally:
        (data / closed).chmod(mode)
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) == (1 if closed else 2), told  # faults of the whole dataset are reported for both splits
    assert all(str(data / closed) in fault and "Permission denied" in fault for fault in told)


def test_the_commands_say_it_on_one_line_a_fault_and_exit_with_2(
    good: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "measure", lambda spec, configs, **_: [NotMeasured("", is_fault=False)] * len(configs))
    train, look = (command(*words) for words in wrong_and_noticed(good, tmp_path))
    assert_said(tmp_path, train, look)


@pytest.mark.slow
def test_the_commands_say_it_in_processes_of_their_own(good: Path, tmp_path: Path) -> None:
    """The commands run in parallel, because imports take seconds."""
    environment = {**os.environ, "COLUMNS": "400", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"}
    running = []
    for words in wrong_and_noticed(good, tmp_path):
        line = [sys.executable, "-m", "raysearch", *words]
        running.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment))
    said = [[part.decode() for part in process.communicate()] for process in running]
    train, look = (Ended(process.returncode, *parts) for process, parts in zip(running, said, strict=True))
    assert_said(tmp_path, train, look)


def wrong_and_noticed(good: Path, folder: Path) -> list[list[str]]:
    """Return the words of a training on a dataset with faults, and of a check that has something to note."""
    lines = []
    for name, build in (
        ("train", something_wrong_under_names_that_break_lines_and_markup),
        ("check", a_notice_of_a_name_that_is_no_text),
    ):
        given = folder / name / "given.json"
        data = Path(shutil.copytree(good, folder / name / "data"))
        build(data)
        config = config_of(data, {}).model_dump(mode="json", exclude={"data": {"drawn"}})
        space = {"name": "x", "config": config, "space": {"optim.lr": {"type": "float", "low": 0.1, "high": 0.2}}}
        space["objective"] = {"metric": "miou", "mode": "max"}
        given.write_text(json.dumps(config if name == "train" else space))
        lines.append([name, str(given), *(["--out", str(folder / name / "out")] if name == "train" else [])])
    return lines


def assert_said(folder: Path, train: Ended, look: Ended) -> None:
    """Check what both commands left behind."""
    assert (train.code, look.code) == (2, 0), (train, look)
    assert not any("Traceback" in text for text in (train.out, train.err, look.out, look.err))
    wrong, noticed = train.err, look.out
    assert [line.startswith("error: ") for line in wrong.splitlines()] == [True] * 5, wrong
    assert "/train/label/b\\nc[red].png: has 3 channels" in wrong
    assert not list(folder.glob("*/out"))
    assert "first in" in noticed and "caf\\udce9.png" in noticed


def something_wrong_under_names_that_break_lines_and_markup(data: Path) -> None:
    something_wrong_everywhere(data)
    rename(data, "b\nc[red]")


def a_notice_of_a_name_that_is_no_text(data: Path) -> None:
    values_outside_the_ids(data)
    a_name_that_is_no_text(data)
