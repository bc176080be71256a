import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.config import DataConfig
from trainables.data import conversion
from trainables.data.conversion import RawValue, convert
from trainables.data.folder import find_pairs
from trainables.data.labels import label_table
from trainables.data.palette import Palette
from trainables.errors import InputError

PALETTE = Palette({(128, 64, 128): 7, (0, 0, 142): 26, (250, 170, 30): 26, (0, 0, 0): 255})


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "my labels 标签"
    folder.mkdir()
    return folder


def save(path: Path, pixels: Any, dtype: Any = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype)).save(path)
    return path


def read(path: Path) -> list[list[int]]:
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        pixels: list[list[int]] = np.asarray(image).tolist()
        return pixels


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestColourMasks:
    def test_become_the_ids_of_their_colours(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a b.png", [[[128, 64, 128], [0, 0, 142]], [[250, 170, 30], [0, 0, 0]]])
        save(labels / "c.bmp", [[[0, 0, 142], [0, 0, 142]]])
        done = convert(labels, tmp_path / "out", palette=PALETTE)
        assert read(tmp_path / "out" / "a b.png") == [[7, 26], [26, 255]]
        assert read(tmp_path / "out" / "c.png") == [[26, 26]]
        assert done.class_ids == (7, 26)
        assert done.values == [RawValue(7, 7, 1, 1), RawValue(26, 26, 4, 2), RawValue(255, 255, 1, 1)]
        assert (done.num_labels, done.num_images, done.palette_images) == (2, 0, None)

    @pytest.mark.parametrize("channel", [0, 1, 2])
    @pytest.mark.parametrize("step", [-1, 1])
    def test_a_colour_off_by_one_is_named_and_not_snapped(
        self, channel: int, step: int, labels: Path, tmp_path: Path
    ) -> None:
        pixels = np.full((4, 5, 3), (128, 64, 128))
        pixels[2, 3, channel] += step
        pixels[3, 1, channel] += step
        path = save(labels / "bad.png", pixels)
        save(labels / "good.png", np.full((4, 5, 3), (128, 64, 128)))
        colour = ",".join(map(str, pixels[2, 3]))
        with pytest.raises(InputError) as caught:
            convert(labels, tmp_path / "out", palette=PALETTE)
        (fault,) = caught.value.faults
        assert fault.where == str(path)
        assert f"pixel x=3, y=2 has the colour {colour}, which is not in the palette" in fault.what
        assert "2 such pixels of 1 colour" in fault.what
        assert list(tmp_path.iterdir()) == [labels]

    def test_every_bad_file_is_named_at_once(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "0 stray.png", [[[1, 2, 3]]])
        save(labels / "1 grey.png", [[7]])
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(labels / "2 lossy.jpg")
        (labels / "3 broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
        (labels / "4 empty.png").touch()
        save(labels / "5 transparent.png", [[[128, 64, 128, 254]]])
        save(labels / "6 right.png", [[[0, 0, 142]]])
        with pytest.raises(InputError) as caught:
            convert(labels, tmp_path / "out", palette=PALETTE)
        faults = {Path(fault.where).name[0]: fault.what for fault in caught.value.faults}
        assert sorted(faults) == ["0", "1", "2", "3", "4", "5"]
        assert "1,2,3" in faults["0"]
        assert "a single channel (L)" in faults["1"]
        assert "JPEG" in faults["2"]
        assert "transparent (alpha 254)" in faults["5"]
        assert list(tmp_path.iterdir()) == [labels]

    def test_without_a_palette_their_colours_are_named(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[[128, 64, 128], [0, 0, 142]]])
        with pytest.raises(InputError, match="no palette is given; it contains the colours 0,0,142  128,64,128;"):
            convert(labels, tmp_path / "out", values="contiguous")

    def test_ids_can_be_renumbered(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[[128, 64, 128], [0, 0, 142], [0, 0, 0]]])
        assert convert(labels, tmp_path / "out", palette=PALETTE, values="spaced").class_ids == (0, 254)
        assert read(tmp_path / "out" / "a.png") == [[0, 254, 255]]


class TestImagesWithAPalette:
    @pytest.fixture
    def indexed(self, labels: Path) -> Path:
        image = Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8)).convert("P")
        image.putpalette([0, 0, 142, 128, 64, 128, 0, 0, 0])
        image.save(labels / "a.png")
        return labels

    def test_are_read_by_their_indices_without_a_palette(self, indexed: Path, tmp_path: Path) -> None:
        done = convert(indexed, tmp_path / "out", values="contiguous")
        assert done.palette_images == "indices"
        assert read(tmp_path / "out" / "a.png") == [[0, 1], [2, 2]]

    def test_are_read_by_their_colours_with_one(self, indexed: Path, tmp_path: Path) -> None:
        done = convert(indexed, tmp_path / "out", palette=PALETTE)
        assert done.palette_images == "colours"
        assert read(tmp_path / "out" / "a.png") == [[26, 7], [255, 255]]


class TestGreyLabels:
    def test_all_files_are_counted_before_any_is_written(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[145, 145, 255]])
        save(labels / "b.png", [[0, 74]])
        save(labels / "c.png", [[128, 254]])
        done = convert(labels, tmp_path / "out", values="contiguous")
        assert done.class_ids == (0, 1, 2, 3, 4)
        assert read(tmp_path / "out" / "a.png") == [[3, 3, 255]]
        assert read(tmp_path / "out" / "b.png") == [[0, 1]]
        assert read(tmp_path / "out" / "c.png") == [[2, 4]]  # 254 is a class, 255 is ignored

    def test_spaced_values_and_contiguous_ones_train_alike(self, labels: Path, tmp_path: Path) -> None:
        raw = np.random.default_rng(0).choice([3, 40, 41, 200, 255], (20, 30))
        save(labels / "a.png", raw)
        tables = {}
        for values in ("contiguous", "spaced"):
            done = convert(labels, tmp_path / values, values=values)
            table = label_table(DataConfig(label_class_ids=done.class_ids))
            tables[values] = table[np.array(read(tmp_path / values / "a.png"))]
        assert done.class_ids == (0, 85, 169, 254)
        np.testing.assert_array_equal(tables["spaced"], tables["contiguous"])
        expected = label_table(DataConfig(label_class_ids=(3, 40, 41, 200)))
        np.testing.assert_array_equal(tables["spaced"], expected[raw])

    def test_the_given_order_of_ids_is_kept(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[5, 9, 7]])
        done = convert(labels, tmp_path / "out", values="contiguous", class_ids=[9, 7, 5, 3])
        assert read(tmp_path / "out" / "a.png") == [[2, 0, 1]]
        assert done.class_ids == (0, 1, 2, 3)

    def test_a_value_beside_the_given_ids_is_named_with_its_first_pixel(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "good.png", [[5, 9, 255]])
        path = save(labels / "bad.png", [[5, 9, 254], [5, 254, 9]])
        with pytest.raises(InputError) as caught:
            convert(labels, tmp_path / "out", values="contiguous", class_ids=[9, 5])
        (fault,) = caught.value.faults
        assert fault.where == str(path)
        assert "the value 254, which is not a class: 2 pixels, the first at x=2, y=0" in fault.what

    def test_background_becomes_ignore(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[0, 1, 11, 12]])
        done = convert(labels, tmp_path / "out", values="contiguous", background=[11, 0])
        assert read(tmp_path / "out" / "a.png") == [[255, 0, 255, 1]]
        assert done.class_ids == (0, 1)

    def test_sixteen_bits(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[1000, 254, 65535], [255, 256, 0]], np.uint16)
        done = convert(labels, tmp_path / "out", values="contiguous", background=[65535])
        assert read(tmp_path / "out" / "a.png") == [[3, 1, 255], [255, 2, 0]]
        assert [row.value for row in done.values] == [0, 254, 255, 256, 1000, 65535]

    def test_few_bits_are_counted_in_steps_of_one(self, labels: Path, tmp_path: Path) -> None:
        Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(labels / "one.png")
        done = convert(labels, tmp_path / "out", values="keep", class_ids=[0, 1])
        assert read(tmp_path / "out" / "one.png") == [[0, 1]]
        assert done.values == [RawValue(0, 0, 1, 1), RawValue(1, 1, 1, 1)]

    @pytest.mark.parametrize("depth", [2, 4])
    def test_few_bits_of_a_grey_png_are_its_values(self, depth: int, labels: Path, tmp_path: Path) -> None:
        values = [0, 1, 2, 3]
        row = 0
        for value in values:
            row = row << depth | value
        data = zlib.compress(b"\0" + row.to_bytes(len(values) * depth // 8, "big"))
        header = struct.pack(">IIBBBBB", len(values), 1, depth, 0, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
        packed = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
        (labels / "few.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
        convert(labels, tmp_path / "out", values="keep", class_ids=values)
        assert read(tmp_path / "out" / "few.png") == [values]

    def test_255_is_a_class_only_where_it_is_named(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[0, 255]])
        with pytest.raises(InputError, match=r"holds 1 class .* including 255 if it is one"):
            convert(labels, tmp_path / "out", values="contiguous")
        convert(labels, tmp_path / "out", values="contiguous", class_ids=[0, 255])
        assert read(tmp_path / "out" / "a.png") == [[0, 1]]

    def test_more_classes_than_values(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", np.arange(1000, 1256)[None], np.uint16)
        with pytest.raises(InputError, match=r"256 label values .* at most 255 classes"):
            convert(labels, tmp_path / "out", values="contiguous")
        done = convert(labels, tmp_path / "out", values="spaced", background=[1000])
        assert done.class_ids == tuple(range(255))

    def test_kept_ids_must_fit(self, labels: Path, tmp_path: Path) -> None:
        save(labels / "a.png", [[0, 300]], np.uint16)
        with pytest.raises(InputError, match=r"300.*--values contiguous"):
            convert(labels, tmp_path / "out", values="keep")


class TestDatasets:
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Path:
        for split, name in (("train", "a b"), ("train", "ü"), ("val", "a b")):
            save(tmp_path / "in" / split / "images" / f"{name}.jpg", np.zeros((2, 3, 3)))
            save(tmp_path / "in" / split / "labels" / f"{name}.png", [[0, 100, 255], [100, 0, 0]])
        return tmp_path / "in"

    @pytest.mark.parametrize("link", [False, True])
    def test_labels_are_converted_and_images_come_along(self, link: bool, dataset: Path, tmp_path: Path) -> None:
        before = snapshot(dataset)
        done = convert(dataset, tmp_path / "out", values="contiguous", link=link)
        assert (done.num_labels, done.num_images) == (3, 3)
        for split, count in (("train", 2), ("val", 1)):
            pairs = find_pairs(tmp_path / "out", split)
            assert len(pairs) == count
            for pair in pairs:
                assert read(pair.label) == [[0, 1, 255], [1, 0, 0]]
                original = dataset / split / "images" / pair.image.name
                assert pair.image.read_bytes() == original.read_bytes()
                assert os.path.samefile(pair.image, original) == link
        assert snapshot(dataset) == before

    def test_one_folder_of_pairs(self, dataset: Path, tmp_path: Path) -> None:
        convert(dataset / "train", tmp_path / "out", values="spaced")
        assert sorted(path.name for path in (tmp_path / "out" / "label").iterdir()) == ["a b.png", "ü.png"]
        assert sorted(path.name for path in (tmp_path / "out" / "image").iterdir()) == ["a b.jpg", "ü.jpg"]

    def test_what_is_wrong_with_the_folders_is_named_at_once(self, dataset: Path, tmp_path: Path) -> None:
        (dataset / "test" / "label").mkdir(parents=True)
        save(dataset / "train" / "labels" / "ü.bmp", [[0]])
        with pytest.raises(InputError) as caught:
            convert(dataset, tmp_path / "out", values="contiguous")
        text = str(caught.value)
        assert "has no folder image/" in text
        assert "holds no image" in text or "holds no" in text
        assert "ü.png: has the same name as ü.bmp" in text

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    @pytest.mark.parametrize("step", ["_raw_values", "place"])
    def test_an_interrupt_leaves_no_half_output(
        self,
        step: str,
        error: type[BaseException],
        dataset: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        calls, original, lock = [0], getattr(conversion, step), threading.Lock()

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            with lock:
                calls[0] += 1
            if calls[0] == (5 if step == "_raw_values" else 2):  # the second of three files to be written
                raise error
            return original(*args, **kwargs)

        monkeypatch.setattr(conversion, step, interrupted)
        before = snapshot(dataset)
        with pytest.raises(error):
            convert(dataset, tmp_path / "out", values="contiguous")
        assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["in"]
        assert snapshot(dataset) == before

    def test_progress_is_told_for_every_file(self, dataset: Path, tmp_path: Path) -> None:
        told: dict[str, list[int]] = {}

        def begin(what: str, total: int) -> Any:
            told[what] = [total, 0]

            def advance() -> None:
                told[what][1] += 1

            return advance

        convert(dataset, tmp_path / "out", values="contiguous", begin=begin)
        assert told == {"counting label values": [3, 3], "writing labels": [3, 3], "copying images": [3, 3]}


class TestNearest:
    def blended(self, folder: Path, *values: int) -> Path:
        """Return a label file of stripes with smooth edges."""
        folder.mkdir()
        stripes = np.repeat(np.array(values, np.uint8), 4)[:, None].repeat(12, axis=1)
        Image.fromarray(stripes).resize((60, 60), Image.Resampling.BILINEAR).save(folder / "a.png")
        return folder

    def test_edge_values_become_the_nearest_class_only_if_asked_for(self, tmp_path: Path) -> None:
        source = self.blended(tmp_path / "soft", 0, 100, 201)
        before = np.asarray(Image.open(source / "a.png")).astype(int)
        kept = convert(source, tmp_path / "kept", values="contiguous")
        assert kept.soft_edges is not None
        assert kept.soft_edges.likely_classes == (0, 100, 201)
        assert len(kept.class_ids) == len(np.unique(before)) > 10
        done = convert(source, tmp_path / "hard", values="keep", nearest=True)
        assert done.class_ids == (0, 100, 201)
        assert done.moved == {*np.unique(before).tolist()} - {0, 100, 201}
        expected = np.where(before <= 50, 0, np.where(before <= 150, 100, 201))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "hard" / "a.png")), expected)

    def test_given_classes_background_and_255_are_what_is_near(self, tmp_path: Path) -> None:
        save(tmp_path / "grey" / "a.png", [[0, 9, 30, 33, 100, 254, 255, 70]])
        done = convert(
            tmp_path / "grey", tmp_path / "out", values="keep", class_ids=[0, 100], background=[40], nearest=True
        )
        assert done.class_ids == (0, 100)
        assert np.asarray(Image.open(tmp_path / "out" / "a.png")).tolist() == [[0, 0, 255, 255, 100, 255, 255, 255]]

    def test_a_mask_of_0_and_255_has_two_classes(self, tmp_path: Path) -> None:
        source = self.blended(tmp_path / "soft", 0, 255)
        done = convert(source, tmp_path / "hard", values="contiguous", nearest=True)
        assert done.class_ids == (0, 1)
        before = np.asarray(Image.open(source / "a.png"))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "hard" / "a.png")), before > 127)

    def test_colours_become_the_nearest_of_the_palette_in_jpeg_too(self, tmp_path: Path) -> None:
        palette = Palette({(0, 0, 0): 0, (200, 0, 0): 1, (0, 0, 200): 2})
        ids = np.repeat(np.repeat(np.array([[0, 1], [2, 0]]), 16, axis=0), 16, axis=1)
        colours = np.array(list(palette.colours), np.uint8)[ids]
        (tmp_path / "masks").mkdir()
        Image.fromarray(colours).save(tmp_path / "masks" / "a.jpg", quality=95, subsampling=0)
        with pytest.raises(InputError, match=r"a lossy format changes label values; .* --nearest"):
            convert(tmp_path / "masks", tmp_path / "out", palette=palette)
        convert(tmp_path / "masks", tmp_path / "out", palette=palette, nearest=True)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), ids)

    def test_values_beside_the_given_classes_are_one_fault_a_file(self, tmp_path: Path) -> None:
        source = self.blended(tmp_path / "soft", 0, 100, 201)
        with pytest.raises(InputError) as caught:
            convert(source, tmp_path / "out", class_ids=[0, 100, 201])
        (fault,) = caught.value.faults
        assert "values outside the classes: " in fault.what
        assert (
            "give --nearest: the labels look blended along edges, and the classes are probably 0, 100, 201" in fault.fix
        )

    def test_a_turned_label_is_written_upright(self, tmp_path: Path) -> None:
        (tmp_path / "turned").mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6
        label = np.arange(6, dtype=np.uint8).reshape(2, 3)
        Image.fromarray(np.ascontiguousarray(np.rot90(label))).save(tmp_path / "turned" / "a.png", exif=exif)
        convert(tmp_path / "turned", tmp_path / "out")
        assert np.asarray(Image.open(tmp_path / "out" / "a.png")).tolist() == label.tolist()
