import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trainables.data.image_files import ImageTraits, pair_size, read_image, read_image_and_traits, read_label
from trainables.errors import InputError

RGB = np.random.default_rng(5).integers(0, 256, (4, 6, 3)).astype(np.uint8)
GREY = RGB[..., 0]
TWELVE = np.random.default_rng(6).integers(256, 4096, (4, 6, 3)).astype(np.uint16)


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels to store for a picture that looks like `pixels`, by the table of the EXIF standard."""
    return np.ascontiguousarray(
        {
            1: pixels,
            2: pixels[:, ::-1],
            3: pixels[::-1, ::-1],
            4: pixels[::-1],
            5: pixels.swapaxes(0, 1),
            6: np.rot90(pixels),
            7: pixels[::-1, ::-1].swapaxes(0, 1),
            8: np.rot90(pixels, -1),
        }[orientation]
    )


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_late_exif(path: Path) -> None:
    """Move the EXIF chunk of a PNG behind its pixels, which the standard allows."""
    data, start, chunks = path.read_bytes(), 8, []
    while start < len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        chunks.append(data[start : start + 12 + length])
        start += 12 + length
    exif = [chunk for chunk in chunks if chunk[4:8] == b"eXIf"]
    assert len(exif) == 1
    rest = [chunk for chunk in chunks if chunk[4:8] != b"eXIf"]
    path.write_bytes(data[:8] + b"".join([*rest[:-1], *exif, rest[-1]]))


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["png", "late png", "tif", "lzw tif", "webp", "xmp png", "16-bit png", "label"])
    def test_every_file_is_seen_upright(self, kind: str, orientation: int, tmp_path: Path) -> None:
        path = tmp_path / f"a.{kind[-4:].strip(' .')}"
        exif = exif_of(orientation)
        if kind == "label":
            Image.fromarray(stored(GREY, orientation)).save(path := tmp_path / "a.png", exif=exif)
            np.testing.assert_array_equal(read_label(path), GREY)
            return
        if kind == "16-bit png":
            deep = stored(GREY.astype(np.uint16) * 256, orientation)
            Image.fromarray(deep).save(path := tmp_path / "a.png", exif=exif)
            expected = np.dstack([GREY] * 3)
        else:
            options: dict[str, Any]
            options = {"lossless": True} if kind == "webp" else {"compression": "tiff_lzw"} if "lzw" in kind else {}
            if kind == "xmp png":
                text = PngInfo()
                text.add_itxt("XML:com.adobe.xmp", f'<x tiff:Orientation="{orientation}"/>')
                options = {"pnginfo": text}
            else:
                options["exif"] = exif
            path = tmp_path / f"a.{kind.split()[-1]}"
            Image.fromarray(stored(RGB, orientation)).save(path, **options)
            if kind == "late png":
                with_late_exif(path)
            expected = RGB
        pixels, traits = read_image_and_traits(path)
        np.testing.assert_array_equal(pixels, expected)
        assert traits.turned == (orientation != 1)
        Image.fromarray(GREY).save(tmp_path / "label.png")
        assert pair_size(path, tmp_path / "label.png") == (4, 6)

    def test_a_label_drawn_on_the_stored_pixels_is_told_apart(self, tmp_path: Path) -> None:
        Image.fromarray(stored(RGB, 6)).save(tmp_path / "a.png", exif=exif_of(6))
        Image.fromarray(stored(GREY, 6)).save(tmp_path / "label.png")
        with pytest.raises(InputError) as caught:
            pair_size(tmp_path / "a.png", tmp_path / "label.png")
        (fault,) = caught.value.faults
        assert "is 4x6 pixels, its image a.png is 6x4, turned upright" in fault.what
        assert "the label fits the image as it is stored" in fault.what
        assert "exiftool -Orientation=" in fault.fix

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_what_makes_no_sense_is_upright(self, orientation: int, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif_of(orientation))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


class TestDepth:
    @pytest.mark.parametrize("ending", ["png", "tif"])
    @pytest.mark.parametrize("kind", ["grey", "colour", "with alpha"])
    def test_the_upper_eight_significant_bits_are_kept(self, kind: str, ending: str, tmp_path: Path) -> None:
        alpha = np.full((4, 6, 1), 4095, np.uint16)
        written = {"grey": TWELVE[..., 0], "colour": TWELVE, "with alpha": np.concatenate([TWELVE, alpha], axis=2)}
        cv2.imwrite(str(tmp_path / f"a.{ending}"), written[kind])  # Pillow cannot write 16-bit colours
        seen = np.dstack([TWELVE[..., 0]] * 3) if kind == "grey" else TWELVE[..., ::-1]
        pixels, traits = read_image_and_traits(tmp_path / f"a.{ending}", 12)
        np.testing.assert_array_equal(pixels, seen >> 4)
        assert traits.bits == 12
        np.testing.assert_array_equal(read_image(tmp_path / f"a.{ending}"), seen >> 8)
        with pytest.raises(InputError, match=r"data.bit_depth is 11: at most 2047; set data.bit_depth to 12 or more"):
            read_image(tmp_path / f"a.{ending}", 11)

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_either_byte_order(self, order: str, tmp_path: Path) -> None:
        write_tiff(tmp_path / "a.tif", TWELVE, order)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", 12), TWELVE >> 4)

    def test_a_tiff_that_states_its_depth_needs_no_config(self, tmp_path: Path) -> None:
        write_packed_tiff(tmp_path / "a.tif", TWELVE[..., 0])
        pixels, traits = read_image_and_traits(tmp_path / "a.tif")
        np.testing.assert_array_equal(pixels, np.dstack([TWELVE[..., 0] >> 4] * 3))
        assert traits == ImageTraits()

    @pytest.mark.parametrize("depth", [8, 12, 16])
    def test_files_of_eight_bits_are_read_as_they_are(self, depth: int, tmp_path: Path) -> None:
        for kind, image in {
            "rgb": Image.fromarray(RGB),
            "grey": Image.fromarray(GREY),
            "grey with alpha": Image.fromarray(np.dstack([GREY, GREY]), "LA"),
            "black and white": Image.fromarray(GREY > 99),
            "palette": Image.fromarray(RGB // 128 * 255).quantize(8),
        }.items():
            image.save(tmp_path / f"{kind}.png")
            expected = np.asarray(image.convert("RGB"))
            np.testing.assert_array_equal(read_image(tmp_path / f"{kind}.png", depth), expected)

    def test_eight_bits_stored_in_sixteen(self, tmp_path: Path) -> None:
        Image.fromarray(GREY.astype(np.uint16)).save(tmp_path / "a.png")
        pixels, traits = read_image_and_traits(tmp_path / "a.png", 8)
        np.testing.assert_array_equal(pixels, np.dstack([GREY] * 3))
        assert traits.bits == int(GREY.max()).bit_length()

    def test_grey_with_alpha_of_sixteen_bits_is_refused_where_its_lower_bits_are_needed(self, tmp_path: Path) -> None:
        rows = b"".join(b"\0" + row.tobytes() for row in np.full((4, 6, 2), 300, ">u2"))
        write_png(tmp_path / "a.png", (6, 4), depth=16, colour_type=4, rows=rows)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.full((4, 6, 3), 300 >> 8))
        with pytest.raises(InputError, match="save it without transparency, or with 8 bits"):
            read_image(tmp_path / "a.png", 12)


class TestTransparency:
    @pytest.mark.parametrize("lowest", [254, 255])
    @pytest.mark.parametrize("kind", ["rgba", "grey", "palette"])
    def test_is_noticed_where_a_pixel_is_not_opaque(self, kind: str, lowest: int, tmp_path: Path) -> None:
        alpha = np.full((4, 6), 255, np.uint8)
        alpha[1, 2] = lowest
        if kind == "palette":
            image = Image.fromarray(GREY // 128).convert("P")
            image.save(tmp_path / "a.png", transparency=bytes([255, lowest]))
        else:
            Image.fromarray(np.dstack([RGB if kind == "rgba" else GREY, alpha])).save(tmp_path / "a.png")
        assert read_image_and_traits(tmp_path / "a.png")[1].transparent == (lowest < 255)


def write_png(path: Path, size: tuple[int, int], *, depth: int, colour_type: int, rows: bytes) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    pixels = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + pixels)


def write_tiff(path: Path, rgb: np.ndarray, order: str) -> None:
    """Write a TIFF of 16-bit colours in a byte order."""
    data = rgb.astype(f"{order}u2").tobytes()
    _write_tiff(path, rgb.shape[:2], order, data, bits=(16, 16, 16))


def write_packed_tiff(path: Path, grey: np.ndarray) -> None:
    """Write a TIFF of 12 bits per pixel without gaps: two pixels in three bytes."""
    flat = grey.ravel().astype(int)
    packed = [
        byte for a, b in zip(flat[::2], flat[1::2], strict=True) for byte in (a >> 4, (a & 15) << 4 | b >> 8, b & 255)
    ]
    _write_tiff(path, grey.shape, "<", bytes(packed), bits=(12,))


def _write_tiff(path: Path, size: tuple[int, ...], order: str, data: bytes, bits: tuple[int, ...]) -> None:
    height, width = size
    tags = {
        256: width,
        257: height,
        258: bits[0],
        259: 1,
        262: 2 if len(bits) == 3 else 1,
        273: 0,
        277: len(bits),
        278: height,
        279: len(data),
    }
    after = 8 + 2 + 12 * len(tags) + 4
    tags[273] = after + 2 * len(bits)
    entries = b""
    for tag, value in tags.items():
        if tag == 258 and len(bits) > 1:
            entries += struct.pack(f"{order}HHII", tag, 3, len(bits), after)
        else:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, value)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    path.write_bytes(header + directory + struct.pack(f"{order}{len(bits)}H", *bits) + data)
