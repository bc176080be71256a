import errno
import json
import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.conftest import save
from trainables.config import DataConfig, DrawnConfig
from trainables.data import decoded
from trainables.data.decoded import DecodedSplit, class_pixel_counts, open_split
from trainables.data.drawn import draw_split
from trainables.data.image_files import ImageTraits
from trainables.errors import InputError
from trainables.file_locks import locked

Pixels = np.ndarray


def config_of(folder: Path, **values: object) -> DataConfig:
    return DataConfig.model_validate({"dir": str(folder), **values})


def read(path: Path) -> Pixels:
    return np.asarray(Image.open(path))


def pixels_of(split: DecodedSplit) -> list[Pixels]:
    return [array for i in range(len(split)) for array in (split.image(i), split.train_label(i), split.label(i))]


def assert_same(left: list[Pixels], right: list[Pixels]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.dtype == b.dtype == np.uint8
        np.testing.assert_array_equal(a, b)


def faults_of(folder: Path, split: str = "train") -> list[str]:
    with pytest.raises(InputError) as caught:
        open_split(config_of(folder), split)
    return [str(fault) for fault in caught.value.faults]


def forget() -> None:
    """Forget opened splits, as in a new process."""
    decoded._opened.clear()


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reads: list[int] = []
    image = decoded._Files.image

    def counted(self: decoded._Files, i: int) -> tuple[Pixels, ImageTraits]:
        reads.append(i)
        return image(self, i)

    monkeypatch.setattr(decoded._Files, "image", counted)
    return reads


# Pixels.


def test_pixels_names_and_histograms_are_those_of_the_files(dataset: Path) -> None:
    split = open_split(config_of(dataset), "train")
    assert len(split) == 5
    assert split.names == ["0", "1", "2", "3", "4"]
    for i, name in enumerate(split.names):
        label = read(dataset / "train" / "label" / f"{name}.png")
        assert_same([split.image(i)], [read(dataset / "train" / "image" / f"{name}.png")])
        assert_same([split.label(i), split.train_label(i)], [label, label])
        assert split.sizes[i] == label.shape
        np.testing.assert_array_equal(split.histograms[i], np.bincount(label.ravel(), minlength=256))
    with pytest.raises(IndexError):
        split.image(5)


def test_mapped_pixels_cannot_be_written(dataset: Path) -> None:
    split = open_split(config_of(dataset), "train")
    with pytest.raises(ValueError, match="read-only"):
        split.image(0)[:] = 0


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_image_scale_leaves_the_label_to_be_scored_at_its_own_size(dataset: Path, scale: float) -> None:
    config = config_of(dataset, image_scale=scale)
    split, plain = open_split(config, "train"), open_split(config_of(dataset), "train")
    for i in range(len(split)):
        height, width = plain.sizes[i]
        scaled = (round(height * scale), round(width * scale))
        assert split.image(i).shape == (*scaled, 3)
        assert split.train_label(i).shape == scaled
        assert set(np.unique(split.train_label(i))) <= {0, 74, 128, 145}
        assert_same([split.label(i)], [plain.label(i)])
        assert abs(float(split.image(i).mean()) - float(plain.image(i).mean())) < 3.0
    np.testing.assert_array_equal(class_pixel_counts(split, config), class_pixel_counts(plain, config))


def test_a_scaled_label_samples_the_centres_of_its_pixels(tmp_path: Path) -> None:
    label = np.arange(6, dtype=np.uint8)[None].repeat(6, axis=0)
    write_pair(tmp_path, np.zeros((6, 6, 3)), label)
    split = open_split(config_of(tmp_path, image_scale=1 / 3), "train")
    assert split.train_label(0).tolist() == [[1, 4], [1, 4]]


def test_a_tiny_scale_leaves_a_pixel(tmp_path: Path) -> None:
    write_pair(tmp_path, np.full((2, 3, 3), 90), np.full((2, 3), 74))
    split = open_split(config_of(tmp_path, image_scale=0.01), "train")
    assert split.image(0).tolist() == [[[90, 90, 90]]]
    assert split.train_label(0).tolist() == [[74]]


@pytest.mark.parametrize("size", [(1, 1), (3, 8000), (256, 256)])
def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (*size, 3)), rng.choice([0, 74], size)
    write_pair(tmp_path, image, label)
    split = open_split(config_of(tmp_path), "train")
    assert_same([split.image(0), split.label(0)], [image.astype(np.uint8), label.astype(np.uint8)])


def write_pair(folder: Path, image: object, label: object, ending: str = "png", mode: str | None = None) -> None:
    """Write `train/image/a.<ending>` and `train/label/a.png`; PIL images are saved unchanged."""
    for part in ("image", "label"):
        (folder / "train" / part).mkdir(parents=True, exist_ok=True)
    for path, pixels, given in (("image/a." + ending, image, None), ("label/a.png", label, mode)):
        if isinstance(pixels, Image.Image):
            pixels.save(folder / "train" / path)
        else:
            save(folder / "train" / path, pixels, given)


RGB = np.random.default_rng(5).integers(0, 256, (4, 6, 3)).astype(np.uint8)
LABEL = np.full((4, 6), 74, np.uint8)


@pytest.mark.parametrize("kind", ["grey", "palette", "rgba", "grey 16", "bmp", "tiff", "webp"])
def test_images_of_every_kind_become_rgb(tmp_path: Path, kind: str) -> None:
    grey = RGB[..., 0]
    palette = Image.fromarray(RGB // 128 * 255).quantize(8)
    image, ending, expected = {
        "grey": (Image.fromarray(grey), "png", np.dstack([grey] * 3)),
        "palette": (palette, "png", np.asarray(palette.convert("RGB"))),
        "rgba": (Image.fromarray(np.dstack([RGB, grey])), "png", RGB),
        # 16 bits are scaled, not cut off at 255.
        "grey 16": (Image.fromarray(grey.astype(np.uint16) * 257), "png", np.dstack([grey] * 3)),
        "bmp": (Image.fromarray(RGB), "bmp", RGB),
        "tiff": (Image.fromarray(RGB), "tiff", RGB),
        "webp": (Image.new("RGB", (6, 4), (9, 9, 9)), "webp", np.full((4, 6, 3), 9, np.uint8)),
    }[kind]
    write_pair(tmp_path, image, LABEL, ending)
    assert_same([open_split(config_of(tmp_path), "train").image(0)], [expected])


@pytest.mark.parametrize("ending", ["jpg", "tif", "webp", "png"])
def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path, ending: str) -> None:
    upright = np.zeros((48, 32, 3), np.uint8)
    upright[:16] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise by 90 degrees
    write_pair(tmp_path, Image.fromarray(RGB), np.full((48, 32), 74))
    (tmp_path / "train" / "image" / "a.png").unlink()
    lying = np.ascontiguousarray(np.rot90(upright))
    Image.fromarray(lying).save(tmp_path / "train" / "image" / f"a.{ending}", exif=exif, quality=100)
    image = open_split(config_of(tmp_path), "train").image(0)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).max() < 20


def test_indices_of_a_palette_label_are_the_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 2], [3, 200, 255]])
    write_pair(tmp_path, np.zeros((2, 3, 3)), ids, mode="P")
    assert open_split(config_of(tmp_path), "train").label(0).tolist() == ids.tolist()


def test_a_16_bit_label_with_small_values_is_read(tmp_path: Path) -> None:
    write_pair(tmp_path, RGB, Image.fromarray(LABEL.astype(np.uint16)))
    assert_same([open_split(config_of(tmp_path), "train").label(0)], [LABEL])


def test_the_drawn_dataset_goes_the_same_way() -> None:
    config = DataConfig(drawn=DrawnConfig(num_train=4, num_val=2, size=(20, 30)))
    for name, count in (("train", 4), ("val", 2), ("test", 2)):
        images, labels = draw_split(config.drawn, name)
        split = open_split(config, name)
        assert len(split) == len(split.names) == count
        assert_same(pixels_of(split), [x for i in range(count) for x in (images[i], labels[i], labels[i])])


def test_class_pixel_counts(dataset: Path) -> None:
    config = config_of(dataset, label_class_ids=(128, 0, 9), reduce_zero_label=False)
    labels = np.concatenate([read(path).ravel() for path in (dataset / "train" / "label").iterdir()])
    counts = class_pixel_counts(open_split(config, "train"), config)
    assert counts.tolist() == [(labels == 128).sum(), (labels == 0).sum(), 0]
    assert counts.dtype == np.int64
    split = open_split(config, "train")
    of_images = [class_pixel_counts(split, config, [i]) for i in range(len(split))]
    assert np.sum(of_images, axis=0).tolist() == counts.tolist() != of_images[0].tolist()
    reduced = config_of(dataset, label_class_ids=(128, 0, 9), reduce_zero_label=True)
    assert class_pixel_counts(open_split(reduced, "train"), reduced).tolist() == [(labels == 0).sum(), 0]


def test_another_folder_in_place_of_the_configs(dataset: Path) -> None:
    assert len(open_split(DataConfig(), "val", dataset)) == 3
    assert len(open_split(config_of(dataset / "elsewhere"), "val", dataset)) == 3


# Faults.


def test_unreadable_files_are_named_all_at_once_whatever_else_is_wrong(dataset: Path) -> None:
    image, label = dataset / "train" / "image", dataset / "train" / "label"
    (image / "0.png").write_bytes(b"")
    (image / "1.png").write_bytes((image / "1.png").read_bytes()[:500])
    (label / "2.png").write_bytes(b"this is no PNG")
    save(label / "3.png", np.zeros((5, 6)))
    (label / "4.png").unlink()
    (image / "5.png").symlink_to(dataset / "gone.png")
    save(label / "5.png", np.zeros((5, 6)))
    faults = faults_of(dataset)
    assert len(faults) == 6
    for file, what in (
        (image / "0.png", "is empty (0 bytes)"),
        (image / "1.png", "cannot be read ("),
        (label / "2.png", "is not an image that can be read"),
        (label / "3.png", "is 6x5 pixels, its image 3.png is 41x42"),
        (image / "4.png", "has no label"),
        (image / "5.png", f"is a link to {dataset / 'gone.png'}, which does not exist; replace"),
    ):
        assert sum(fault.startswith(f"{file}: {what}") for fault in faults) == 1, (file, faults)


def test_a_truncated_image_alone_is_found(dataset: Path, cache: Path) -> None:
    path = dataset / "train" / "label" / "2.png"
    path.write_bytes(path.read_bytes()[:-60])
    (fault,) = faults_of(dataset)
    assert fault.startswith(f"{path}: cannot be read (")
    assert [file.suffix for file in cache.iterdir()] == [".lock"]  # no incomplete file is left


@pytest.mark.parametrize(
    ("label", "what"),
    [
        (
            Image.fromarray(RGB),
            "has 3 channels (RGB); a label has a single channel with class ids; convert the colours",
        ),
        (Image.fromarray(np.dstack([RGB, LABEL])), "has 4 channels (RGBA)"),
        (Image.fromarray(np.dstack([LABEL, LABEL]), "LA"), "has 2 channels (LA)"),
        (Image.fromarray(LABEL.astype(np.uint16) + 300), "is a 16-bit label that holds the value 374"),
        (Image.fromarray(LABEL > 0), "is a 1-bit label"),
    ],
)
def test_labels_that_hold_no_ids(tmp_path: Path, label: Image.Image, what: str) -> None:
    write_pair(tmp_path, RGB, label)
    (fault,) = faults_of(tmp_path)
    assert fault.startswith(f"{tmp_path}/train/label/a.png: {what}")


def test_a_jpeg_under_the_name_of_a_png_label(tmp_path: Path) -> None:
    write_pair(tmp_path, RGB, LABEL)
    Image.fromarray(LABEL).save(tmp_path / "train" / "label" / "a.png", format="JPEG")
    (fault,) = faults_of(tmp_path)
    assert "holds JPEG data" in fault


def test_a_float_image(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(np.zeros((4, 6), np.float32)), LABEL, "tiff")
    (fault,) = faults_of(tmp_path)
    assert "has F pixels of 32 bits" in fault


def test_a_full_disk_names_the_folder_and_the_variable(
    dataset: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        (fault,) = faults_of(dataset)
    assert fault.startswith(f"{cache}: cannot hold the decoded images ([Errno 28] No space left on device)")
    assert "TRAINABLES_CACHE_DIR" in fault
    assert len(open_split(config_of(dataset), "train")) == 5


def test_a_cache_folder_that_cannot_be_made(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRAINABLES_CACHE_DIR", str(tmp_path / "file" / "cache"))
    (fault,) = faults_of(dataset)
    assert "TRAINABLES_CACHE_DIR" in fault


# The cache.


def test_a_second_process_decodes_nothing(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(monkeypatch)
    first = open_split(config_of(dataset), "train")
    assert len(reads) == 5
    assert open_split(config_of(dataset), "train") is first
    forget()
    assert_same(pixels_of(open_split(config_of(dataset), "train")), pixels_of(first))
    assert len(reads) == 5


@pytest.mark.parametrize("known", [True, False])
def test_an_image_changed_in_place_is_noticed(dataset: Path, cache: Path, known: bool) -> None:
    before = open_split(config_of(dataset), "train")
    old = before.image(1).copy()
    path = dataset / "train" / "image" / "1.png"
    stat = path.stat()
    changed = 255 - read(path)
    save(path, changed)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a copy that preserves times would leave it
    if not known:
        forget()
    assert_same([open_split(config_of(dataset), "train").image(1)], [changed])
    assert_same([before.image(1)], [old])  # a reader keeps the pixels with which it opened the split
    assert len([folder for folder in cache.iterdir() if folder.is_dir()]) == 1  # the old copy is gone


def test_a_label_values_config_shares_the_pixels(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(monkeypatch)
    open_split(config_of(dataset), "train")
    open_split(config_of(dataset, label_class_ids=(74, 0), workers=2), "train")
    assert len(reads) == 5


@pytest.mark.parametrize("damage", ["cut", "gone", "no index", "half an index"])
@pytest.mark.parametrize("name", ["images.bin", "labels.bin", "train_labels.bin"])
def test_a_damaged_cache_is_written_anew(dataset: Path, cache: Path, damage: str, name: str) -> None:
    config = config_of(dataset, image_scale=0.5)
    expected = [pixels.copy() for pixels in pixels_of(open_split(config, "train"))]
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    index = folder / "index.json"
    if damage == "cut":
        os.truncate(folder / name, (folder / name).stat().st_size - 1)
    elif damage == "gone":
        (folder / name).unlink()
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text(index.read_text()[:-20])
    forget()
    assert_same(pixels_of(open_split(config, "train")), expected)
    assert json.loads(index.read_text())["stored"] is True
    forget()
    assert_same(pixels_of(open_split(config, "train")), expected)


@pytest.mark.parametrize("name", ["images.bin", "labels.bin", "train_labels.bin"])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_flipped_byte_is_decoded_again(dataset: Path, cache: Path, name: str, is_open: bool) -> None:
    config = config_of(dataset, image_scale=0.5)
    split = open_split(config, "train")
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    intact = (folder / name).read_bytes()
    expected = [np.frombuffer(intact, np.uint8)]
    damaged = bytearray(intact)
    damaged[len(damaged) // 2] ^= 1
    (folder / name).write_bytes(damaged)
    if not is_open:
        forget()
        split = open_split(config, "train")
    with pytest.warns(UserWarning, match=rf"{name} was damaged; 2 was decoded again"):
        pixels_of(split)
    assert_same([np.frombuffer((folder / name).read_bytes(), np.uint8)], expected)
    assert_same(pixels_of(split), pixels_of(open_split(config, "train")))


def test_a_file_that_is_cut_while_it_is_open_is_decoded_again(dataset: Path, cache: Path) -> None:
    """A process that had mapped the file would be ended by the system."""
    split = open_split(config_of(dataset), "train")
    expected = [pixels.copy() for pixels in pixels_of(split)]
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    intact = (folder / "images.bin").read_bytes()
    os.truncate(folder / "images.bin", len(intact) // 2)
    with pytest.warns(UserWarning, match=r"images\.bin was damaged"):
        assert_same(pixels_of(split), expected)
    assert (folder / "images.bin").read_bytes() == intact


def test_damaged_pixels_whose_image_has_changed_are_told(dataset: Path, cache: Path) -> None:
    split = open_split(config_of(dataset), "train")
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    os.truncate(folder / "images.bin", 0)
    path = dataset / "train" / "image" / "1.png"
    save(path, 255 - read(path))
    with pytest.raises(InputError, match=r"1\.png: has changed, and its copy in .*images\.bin is damaged; start again"):
        split.image(1)


def test_an_index_with_another_digit_is_written_anew(dataset: Path, cache: Path) -> None:
    expected = open_split(config_of(dataset), "train").histograms.copy()
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    text = (folder / "index.json").read_text()
    at = text.index('"histograms"') + text[text.index('"histograms"') :].index(": ", 20) + 2
    changed = text[:at] + str(int(text[at]) ^ 1) + text[at + 1 :]
    (folder / "index.json").write_text(changed)
    forget()
    np.testing.assert_array_equal(open_split(config_of(dataset), "train").histograms, expected)
    assert (folder / "index.json").read_text() == text


def test_what_a_killed_process_left_is_removed(dataset: Path, cache: Path) -> None:
    open_split(config_of(dataset), "train")
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    half = folder.with_name(folder.name + ".abc")
    folder.rename(half)
    forget()
    open_split(config_of(dataset), "train")
    assert not half.exists()
    assert folder.exists()


def test_processes_that_start_together_decode_once(dataset: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()

    def work() -> None:
        patch = pytest.MonkeyPatch()
        reads = count_reads(patch)
        barrier.wait()
        split = open_split(config_of(dataset), "train")
        results.put((len(reads), [pixels.sum(dtype=np.int64) for pixels in pixels_of(split)]))

    processes = [context.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(reads for reads, _ in found) == [0, 0, 5]
    assert found[0][1] == found[1][1] == found[2][1]


def test_a_process_waits_for_the_one_that_decodes(dataset: Path, cache: Path) -> None:
    open_split(config_of(dataset), "train")
    forget()
    (lock,) = cache.glob("*.lock")
    waiting = threading.Thread(target=open_split, args=(config_of(dataset), "train"))
    with locked(lock):
        waiting.start()
        waiting.join(timeout=0.3)
        assert waiting.is_alive()
    waiting.join()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_without_room_the_files_are_read_at_every_access(
    dataset: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    config = config_of(dataset, image_scale=scale)
    reads = count_reads(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(decoded, "LARGEST_SHARE", 0.0)
        unstored = open_split(config, "train")
        assert not list(cache.glob("*/*.bin"))
        pixels = pixels_of(unstored)
        histograms = unstored.histograms
        num_reads = len(reads)
        forget()
        open_split(config, "train")
        assert len(reads) == num_reads  # the content of the files is known
    forget()
    stored = open_split(config, "train")  # now there is space
    assert list(cache.glob("*/images.bin"))
    assert_same(pixels_of(stored), pixels)
    np.testing.assert_array_equal(stored.histograms, histograms)
