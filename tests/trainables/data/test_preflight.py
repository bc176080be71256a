from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.conftest import save
from trainables.config import DataConfig
from trainables.data import decoded
from trainables.data.image_files import ImageTraits
from trainables.data.preflight import inspect, likely_bit_depth, notices, shared_images
from trainables.errors import InputError

CROP = (8, 8)


def write(folder: Path, **splits: list[np.ndarray]) -> Path:
    for split, labels in splits.items():
        for part in ("image", "label"):
            (folder / split / part).mkdir(parents=True)
        for i, label in enumerate(labels):
            save(folder / split / "label" / f"{i}.png", label)
            image = np.full((*label.shape, 3), len(split) + 10 * i)  # no image is in two splits
            save(folder / split / "image" / f"{i}.png", image)
    return folder


def label_of(size: tuple[int, int] = (10, 20), **counts: int) -> np.ndarray:
    """Return a label with the given numbers of pixels of `v<value>`; the rest is 0."""
    label = np.zeros(size, np.uint8)
    flat, start = label.reshape(-1), 0
    for name, count in counts.items():
        flat[start : start + count] = int(name[1:])
        start += count
    return label


def blended(*values: int) -> np.ndarray:
    """Return a label (60, 60) of stripes whose edges were resized smoothly."""
    stripes = np.repeat(np.array(values, np.uint8), 4)[:, None].repeat(12, axis=1)
    return np.asarray(Image.fromarray(stripes).resize((60, 60), Image.Resampling.BILINEAR))


def config_of(folder: Path, **values: object) -> DataConfig:
    return DataConfig.model_validate({"dir": str(folder), "label_class_ids": (0, 74), **values})


def notices_of(config: DataConfig) -> list[str]:
    return notices(inspect(config, CROP), config)


def test_summary(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of(v74=60), label_of((12, 10), v255=9, v3=5), label_of(v3=1)], val=[label_of(v74=1)])
    summary = inspect(config_of(tmp_path), CROP)["train"]
    assert summary.num_images == 3
    assert summary.sizes == {(10, 20): 2, (12, 10): 1}
    assert summary.class_pixels == (140 + 106 + 199, 60)
    assert summary.ignored_pixels == 9 + 5 + 1
    assert {value: (found.num_pixels, found.first_file) for value, found in summary.unlisted.items()} == {
        3: (6, str(tmp_path / "train" / "label" / "1.png"))
    }
    assert summary.imbalance == pytest.approx(445 / 60)
    assert sum(summary.class_pixels) + summary.ignored_pixels == 200 + 120 + 200


def test_unexpected_values_are_noticed_with_file_value_and_count(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of(v74=80), label_of(v74=50, v9=7)], val=[label_of(v74=60, v255=5)])
    file = tmp_path / "train" / "label" / "1.png"
    assert notices_of(config_of(tmp_path)) == [
        f"train: label value 9 is not in label_class_ids and is ignored: 7 pixels, first in {file}"
    ]


def test_many_unexpected_values_end_in_a_count(tmp_path: Path) -> None:
    noisy = label_of((60, 20), v74=80, **{f"v{value}": 60 for value in range(1, 14)})
    write(tmp_path, train=[noisy], val=[label_of(v74=80)])
    lines = notices_of(config_of(tmp_path))
    assert len(lines) == 11
    assert lines[-1] == "train: 3 more label values are also ignored"


def test_blended_labels_are_one_line_with_their_likely_classes_and_a_command(tmp_path: Path) -> None:
    folder = write(tmp_path / "a dataset", train=[blended(0, 74, 200)], val=[label_of(v74=80)])
    line, *others = notices_of(config_of(folder, label_class_ids=(0, 74)))
    values, counts = np.unique(blended(0, 74, 200), return_counts=True)
    share = 100 * counts[~np.isin(values, (0, 74, 200))].sum() / 60**2
    assert f"{len(values) - 3} values have no area of their own ({share:.2g} % of the pixels)" in line
    assert "the classes are probably 0, 74, 200" in line
    assert line.endswith(f"data convert '{folder}' '{folder}_hard' --nearest --values keep")
    assert [other.split(":")[1] for other in others if "is ignored" in other] == [
        " label value 200 is not in label_class_ids and is ignored"  # a class, not a value of an edge
    ]


def test_absent_classes_are_named(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of(v74=80)], val=[label_of(v128=80)])
    config = config_of(tmp_path, label_class_ids=(0, 74, 128), class_names=("ground", "car", "tree"))
    assert notices_of(config) == [
        "train: tree (raw value 128) has no pixels; it cannot be learned",
        "val: car (raw value 74) has no pixels; it does not count in the mean IoU unless it is predicted",
    ]


def test_reduce_zero_label_names_the_raw_value_of_the_right_class(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of(v74=80)], val=[label_of(v74=80)])
    config = config_of(tmp_path, label_class_ids=(0, 74, 128), reduce_zero_label=True)
    assert notices_of(config) == [
        "train: class 1 (raw value 128) has no pixels; it cannot be learned",
        "val: class 1 (raw value 128) has no pixels; it does not count in the mean IoU unless it is predicted",
    ]
    assert inspect(config, CROP)["train"].ignored_pixels == 120


@pytest.mark.parametrize(
    ("rare", "said", "recommended"), [(41, False, False), (40, False, False), (33, True, False), (18, True, True)]
)
def test_imbalance_is_said_at_5_and_weights_recommended_at_10(
    tmp_path: Path, rare: int, said: bool, recommended: bool
) -> None:
    write(tmp_path, train=[label_of(v74=rare)], val=[label_of(v74=3)])
    lines = notices_of(config_of(tmp_path))
    assert len(lines) == int(said)
    if said:
        assert f"class 0 has {(200 - rare) / rare:.1f} times the pixels of class 1 ({200 - rare} : {rare})" in lines[0]
        advice = "class weights are recommended" if recommended else "class weights may help"
        assert lines[0].endswith(f"; {advice}: search loss.ce_weight_power between 0 and 1")


def test_the_bounds_belong_to_the_notices(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of((6, 11), v74=11), label_of((1, 11), v74=1)], val=[label_of(v74=3)])
    lines = notices(inspect(config_of(tmp_path), (1, 1)), config_of(tmp_path))
    assert "5.4 times" in lines[0]
    write(tmp_path / "b", train=[label_of((6, 10), v74=10)], val=[label_of(v74=3)])
    assert "5.0 times" in notices(inspect(config_of(tmp_path / "b"), (1, 1)), config_of(tmp_path / "b"))[0]
    write(tmp_path / "c", train=[label_of((11, 10), v74=10)], val=[label_of(v74=3)])
    assert "recommended" in notices(inspect(config_of(tmp_path / "c"), (1, 1)), config_of(tmp_path / "c"))[0]


def test_images_that_no_scale_brings_to_the_crop(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of((10, 20), v74=80), label_of((40, 40), v74=800)], val=[label_of((40, 40), v74=800)])
    config = config_of(tmp_path)
    lines = notices(inspect(config, (24, 24)), config)
    assert lines == ["train: 1 of 2 images is smaller than the crop at every scale; their crops are always padded"]
    assert not notices(inspect(config, (20, 24)), config)  # scale 2 reaches 20 x 40
    assert len(notices(inspect(config_of(tmp_path, image_scale=0.5), (20, 24)), config)) == 1


def test_a_split_without_any_class_is_a_fault_that_tells_its_values(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of((4, 4), v1=10, v2=6)], val=[label_of((4, 4), v74=10)])
    with pytest.raises(InputError) as caught:
        inspect(config_of(tmp_path, label_class_ids=(74, 128)), CROP)
    (fault,) = caught.value.faults
    assert str(fault) == (
        "data, split train: no label contains a pixel of any class; label_class_ids = [74, 128]; "
        "list values of classes; the labels contain 1, 2"
    )


def test_faults_of_all_splits_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of(v74=1)], val=[label_of(v74=1), label_of(v74=1)])
    (tmp_path / "train" / "image" / "0.png").write_bytes(b"")
    (tmp_path / "val" / "label" / "1.png").unlink()
    with pytest.raises(InputError) as caught:
        inspect(config_of(tmp_path), CROP)
    assert [fault.what.split(" ")[0:2] for fault in caught.value.faults] == [["is", "empty"], ["has", "no"]]


def test_a_missing_folder_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        inspect(config_of(tmp_path / "nowhere"), CROP)
    assert len(caught.value.faults) == 1


def test_further_splits_on_demand(tmp_path: Path) -> None:
    write(tmp_path, train=[label_of(v74=1)], test=[label_of(v74=2)])
    assert set(inspect(config_of(tmp_path), CROP, ("test",))) == {"test"}


def test_nothing_is_decoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, train=[label_of(v74=1)], val=[label_of(v74=1)])
    config = config_of(tmp_path)
    inspect(config, CROP)
    decoded._opened.clear()
    monkeypatch.setattr(decoded._Files, "image", lambda *_: pytest.fail("decoded again"))
    inspect(config, CROP)
    decoded.open_split(config, "train").image(0)


def test_the_drawn_dataset_recommends_weights() -> None:
    config = DataConfig()
    (line,) = notices(inspect(config, config.augmentation.crop_size), config)
    assert "class weights are recommended" in line


def test_an_image_in_two_splits_is_noticed_by_both_paths(tmp_path: Path) -> None:
    labels = [label_of(v74=60), label_of(v74=60), label_of(v74=60)]
    write(tmp_path, train=labels, val=labels)
    first, second = tmp_path / "train" / "image" / "2.png", tmp_path / "val" / "image" / "0.png"
    second.write_bytes(first.read_bytes())
    assert notices_of(config_of(tmp_path)) == [f"the same image is in two splits: {first} and {second}"]
    summaries = inspect(config_of(tmp_path, image_scale=0.5), CROP)
    assert shared_images({split: summary.images for split, summary in summaries.items()}) == [(first, second)]


class TestImageNotices:
    def test_twelve_bits_in_sixteen_are_said_until_the_config_says_so(self, tmp_path: Path) -> None:
        write(tmp_path, train=[label_of(v74=80)], val=[label_of(v74=80)])
        for split, largest in (("train", 2100), ("val", 900)):
            deep = np.linspace(0, largest, 200).astype(np.uint16).reshape(10, 20)
            Image.fromarray(deep).save(tmp_path / split / "image" / "0.png")
        (line,) = notices_of(config_of(tmp_path))
        assert line.startswith("2 images have 16 bits per channel but no value above 4095, so this is probably 12-bit")
        assert "data.bit_depth: 12 reads it at full brightness, 16 reads it 16 times too dark" in line
        assert notices_of(config_of(tmp_path, bit_depth=12)) == []

    @pytest.mark.parametrize(
        ("bits", "depth"), [([], 16), ([0, 0], 16), ([7], 8), ([8, 9], 10), ([12], 12), ([3, 13], 14), ([15, 9], 16)]
    )
    def test_the_depth_is_the_least_usual_one_that_holds_every_value(self, bits: list[int], depth: int) -> None:
        assert likely_bit_depth(ImageTraits(bits=number) for number in bits) == depth

    def test_turned_and_transparent_images_are_counted(self, tmp_path: Path) -> None:
        write(tmp_path, train=[label_of(v74=80)] * 3, val=[label_of(v74=80)])
        image = Image.open(tmp_path / "train" / "image" / "0.png")
        exif = Image.Exif()
        exif[0x0112] = 3
        image.save(tmp_path / "train" / "image" / "0.png", exif=exif)
        image.convert("RGBA").save(tmp_path / "train" / "image" / "1.png")  # opaque: nothing to say
        Image.new("LA", (20, 10), (3, 254)).save(tmp_path / "val" / "image" / "0.png")
        turned, transparent = (line for line in notices_of(config_of(tmp_path)) if " of " in line)
        assert turned.startswith("train: of 3 images, 1 turned upright according to the EXIF orientation")
        assert transparent.startswith("val: of 1 image, 1 with transparent pixels")
