from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.conftest import save
from trainables.config import DataConfig
from trainables.data.census import inspect_dataset, take_census
from trainables.errors import InputError


def fill(dataset: Path, split: str, value: int) -> None:
    for path in (dataset / split / "label").iterdir():
        save(path, np.full(np.asarray(Image.open(path)).shape, value))


def test_counts_the_pixels_of_every_value_and_class(dataset: Path) -> None:
    census = take_census(dataset / "train", hash_images=False)
    labels = [np.asarray(Image.open(pair.label)) for pair in census.pairs]
    assert [pair.name for pair in census.pairs] == ["0", "1", "2", "3", "4"]
    assert census.sizes == [label.shape for label in labels]
    assert census.value_pixels() == {v: sum(int((label == v).sum()) for label in labels) for v in (0, 74, 128, 145)}
    config = DataConfig(label_class_ids=(145, 0, 74), reduce_zero_label=True)
    expected = [[(label == 0).sum(), (label == 74).sum()] for label in labels]
    np.testing.assert_array_equal(census.class_histograms(config), expected)
    assert census.summary(config).ignored_pixels == sum(label.size for label in labels) - np.sum(expected)
    assert set(census.summary(config).unlisted) == {128}
    assert (census.digests, census.faults) == ([], [])


def test_a_bad_file_stops_nothing_and_all_are_named(dataset: Path) -> None:
    (dataset / "train" / "image" / "0.png").write_bytes(b"rubbish")
    (dataset / "train" / "label" / "0.png").write_bytes(b"rubbish too")
    (dataset / "train" / "label" / "1.png").unlink()
    save(dataset / "train" / "label" / "2.png", np.zeros((3, 3)))
    Image.fromarray(np.full((38, 44), 256, np.uint16)).save(dataset / "val" / "label" / "2.png")
    found = inspect_dataset(dataset)
    assert [pair.name for pair in found.splits["train"].pairs] == ["3", "4"]
    where = [str(Path(fault.where).relative_to(dataset)) for fault in found.faults]
    assert sorted(where) == [
        "train/image/0.png",
        "train/image/1.png",
        "train/label/0.png",
        "train/label/2.png",
        "val/label/2.png",
    ]


def test_progress_is_told_for_every_pair_good_or_bad(dataset: Path) -> None:
    (dataset / "train" / "label" / "0.png").write_bytes(b"rubbish")
    told: list[str | int] = []

    def begin(what: str, total: int) -> Callable[[], None]:
        told.extend((what, total))
        return lambda: told.append("read")

    take_census(dataset / "train", hash_images=True, begin=begin)
    assert told == ["reading train", 5, *["read"] * 5]


def test_an_image_encoded_anew_is_the_same_image(dataset: Path) -> None:
    with Image.open(dataset / "train" / "image" / "1.png") as image:
        (dataset / "val" / "image" / "1.png").unlink()
        image.save(dataset / "val" / "image" / "1.bmp")
        save(dataset / "val" / "label" / "1.png", np.zeros(image.size[::-1]))
        pixels = np.array(image)
    pixels[0, 0, 0] ^= 1
    save(dataset / "val" / "image" / "0.png", pixels)
    save(dataset / "val" / "label" / "0.png", np.zeros(pixels.shape[:2]))
    found = inspect_dataset(dataset)
    assert found.shared == [(dataset / "train" / "image" / "1.png", dataset / "val" / "image" / "1.bmp")]
    assert any("the same image is in two splits" in line for line in found.notices)


def test_classes_that_a_split_lacks_are_said(dataset: Path) -> None:
    fill(dataset, "val", 74)
    found = inspect_dataset(dataset, DataConfig(label_class_ids=(0, 74, 254)))
    assert (
        "val: class 0 (raw value 0) has no pixels; it does not count in the mean IoU unless it is predicted"
        in found.notices
    )
    assert "train: class 2 (raw value 254) has no pixels; it cannot be learned" in found.notices
    assert found.faults == []


def test_every_value_but_255_is_a_class_where_nothing_is_said(dataset: Path) -> None:
    fill(dataset, "val", 255)
    save(dataset / "val" / "label" / "0.png", np.full((30, 50), 254))
    found = inspect_dataset(dataset)
    assert found.config is not None
    assert found.config.label_class_ids == (0, 74, 128, 145, 254)
    assert "train: value 254 (raw value 254) has no pixels; it cannot be learned" in found.notices


@pytest.mark.parametrize(("ratio", "said", "recommended"), [(4, False, False), (5, True, False), (10, True, True)])
def test_imbalance_is_said_from_5_and_weights_recommended_from_10(
    ratio: int, said: bool, recommended: bool, dataset: Path
) -> None:
    fill(dataset, "train", 255)
    label = np.full((30, 50), 255)
    label[0, : 2 * ratio], label[1, :2] = 0, 74
    save(dataset / "train" / "label" / "0.png", label)
    lines = [line for line in inspect_dataset(dataset, DataConfig(label_class_ids=(0, 74))).notices if "times" in line]
    assert bool(lines) == said
    assert any("weights are recommended" in line for line in lines) == recommended
    assert any("weights may help" in line for line in lines) == (said and not recommended)


def test_ids_that_no_label_has_are_a_fault_of_every_split(dataset: Path) -> None:
    found = inspect_dataset(dataset, DataConfig(label_class_ids=(1, 2)))
    assert [fault.where for fault in found.faults] == [str(dataset / "train"), str(dataset / "val")]
    assert "0, 74, 128, 145" in found.faults[0].fix


def test_a_split_that_training_needs_is_missed_and_a_test_split_is_read(dataset: Path) -> None:
    (dataset / "val").rename(dataset / "test")
    found = inspect_dataset(dataset)
    assert list(found.splits) == ["train", "test"]
    assert [fault.what for fault in found.faults] == ["has no folder val/"]
    with pytest.raises(InputError, match="has no folder train/"):
        inspect_dataset(dataset / "train")


def test_images_of_twelve_bits_are_taken_for_that_where_nothing_is_said(dataset: Path) -> None:
    for path in sorted(dataset.glob("*/image/*.png")):
        Image.fromarray(np.asarray(Image.open(path))[..., 0].astype(np.uint16) * 16).save(path)
    found = inspect_dataset(dataset)
    assert found.config is not None
    assert found.config.bit_depth == 12
    assert sum("so this is probably 12-bit data" in line for line in found.notices) == 1
    assert len({digest for census in found.splits.values() for digest in census.digests}) == 8


def test_only_values_with_an_area_are_classes_of_blended_labels(dataset: Path) -> None:
    stripes = np.repeat(np.array([[0], [100], [200]], np.uint8), 4, axis=0).repeat(12, axis=1)
    for path in sorted(dataset.glob("*/label/*.png")):
        height, width = np.asarray(Image.open(path)).shape
        Image.fromarray(stripes).resize((width, height), Image.Resampling.BILINEAR).save(path)
    found = inspect_dataset(dataset)
    assert found.config is not None
    assert found.config.label_class_ids == (0, 100, 200)
    assert sum("the classes are probably 0, 100, 200" in line for line in found.notices) == 1


def test_blended_labels_of_0_and_255_are_said_though_255_is_no_class(dataset: Path) -> None:
    for path in sorted(dataset.glob("*/label/*.png")):
        height, width = np.asarray(Image.open(path)).shape
        halves = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 3, axis=0).repeat(6, axis=1))
        halves.resize((width, height), Image.Resampling.BILINEAR).save(path)
    found = inspect_dataset(dataset)
    assert found.config is None
    assert "the classes are probably 0, 255" in found.notices[0]
