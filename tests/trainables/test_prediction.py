from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from tests.trainables.tiny import tiny
from trainables.config import Config, DataConfig
from trainables.data import label_table, raw_values
from trainables.errors import InputError
from trainables.models import SegmentationOutput
from trainables.overlay import class_colors, overlay
from trainables.prediction import predict_images, readable_images, score_label_images

IDS = (0, 74, 128, 145)


class Darkness(nn.Module):
    """A network with a known answer: four classes by the brightness of each pixel."""

    padding_multiple = 16

    def forward(self, images: Tensor) -> SegmentationOutput:
        classes = torch.bucketize(images[:, 0].contiguous(), torch.tensor([-1.0, 0.0, 1.0]))
        return SegmentationOutput(F.one_hot(classes, 4).movedim(-1, 1).float(), None, None)


def classes_of(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(np.digitize((pixels[..., 0] / 255.0 - 0.485) / 0.229, [-1.0, 0.0, 1.0]))


def photograph(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *size]).integers(0, 256, (*size, 3)).astype(np.uint8)


def written(config: Config, images: Path, out: Path, **options: Any) -> list[Path]:
    out.mkdir()
    network: Any = Darkness()
    device = torch.device("cpu")
    return list(predict_images(network, readable_images(images, config.data), out, config, device=device, **options))


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def faults_of(predicted: Path, labels: Path, **options: Any) -> list[str]:
    values = options.pop("values", {})
    with pytest.raises(InputError) as caught:
        score_label_images(predicted, labels, tiny(values).data, **options)
    return [str(fault) for fault in caught.value.faults]


def label_folder(folder: Path, **labels: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in labels.items():
        Image.fromarray(np.asarray(values, np.uint8)).save(folder / f"{name}.png")
    return folder


class TestPredictImages:
    def test_labels_have_the_names_and_sizes_of_the_images_and_raw_ids(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        photographs = {"a": (17, 33), "two words": (256, 40), "é": (1, 1), "z.1": (20, 20)}
        for name, size in photographs.items():
            Image.fromarray(photograph(size)).save(tmp_path / "in" / f"{name}.png")
        paths = written(tiny(), tmp_path / "in", tmp_path / "out")
        assert sorted(path.name for path in paths) == sorted(f"{name}.png" for name in photographs)
        for name, size in photographs.items():
            label = Image.open(tmp_path / "out" / f"{name}.png")
            assert label.mode == "L"
            np.testing.assert_array_equal(np.asarray(label), np.array(IDS)[classes_of(photograph(size))])

    @pytest.mark.parametrize(
        ("values", "ids", "expected"),
        [
            ({}, "raw", IDS),
            ({}, "contiguous", (0, 1, 2, 3)),
            ({"data.label_class_ids": [9, 5, 3, 200, 1], "data.reduce_zero_label": True}, "raw", (5, 3, 200, 1)),
            ({"data.label_class_ids": [9, 5, 3, 200, 1], "data.reduce_zero_label": True}, "contiguous", (0, 1, 2, 3)),
        ],
    )
    def test_ids(self, values: dict[str, Any], ids: str, expected: tuple[int, ...], tmp_path: Path) -> None:
        config = tiny(values)
        (tmp_path / "in").mkdir()
        Image.fromarray(photograph((30, 40))).save(tmp_path / "in" / "a.png")
        written(config, tmp_path / "in", tmp_path / "out", ids=ids)
        predicted = read(tmp_path / "out" / "a.png")
        np.testing.assert_array_equal(predicted, np.array(expected)[classes_of(photograph((30, 40)))])
        if ids == "raw":
            np.testing.assert_array_equal(label_table(config.data)[predicted], classes_of(photograph((30, 40))))
            assert raw_values(config.data).tolist() == list(expected)

    def test_a_photograph_is_predicted_upright_as_in_training(self, tmp_path: Path) -> None:
        upright = np.zeros((48, 32, 3), np.uint8)
        upright[:16] = 250
        exif = Image.Exif()
        exif[0x0112] = 6
        (tmp_path / "in").mkdir()
        lying = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
        lying.save(tmp_path / "in" / "a.jpg", exif=exif, quality=100)
        written(tiny(), tmp_path / "in", tmp_path / "out")
        predicted = read(tmp_path / "out" / "a.png")
        assert predicted.shape == (48, 32)
        assert (predicted[:16] == 145).all() and (predicted[16:] == 0).all()

    @pytest.mark.parametrize("scale", [0.5, 1.7])
    def test_image_scale_does_not_change_the_size_of_the_label(self, scale: float, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        Image.fromarray(np.full((31, 45, 3), 250, np.uint8)).save(tmp_path / "in" / "a.png")
        written(tiny({"data.image_scale": scale}), tmp_path / "in", tmp_path / "out")
        np.testing.assert_array_equal(read(tmp_path / "out" / "a.png"), np.full((31, 45), 145))

    def test_overlays_lie_beside_the_labels_and_are_no_labels(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        Image.fromarray(photograph((20, 30))).save(tmp_path / "in" / "a.png")
        written(tiny(), tmp_path / "in", tmp_path / "out", with_overlay=True)
        expected = overlay(photograph((20, 30)), classes_of(photograph((20, 30))), class_colors(4))
        np.testing.assert_array_equal(read(tmp_path / "out" / "overlay" / "a.png"), expected)
        labels = label_folder(tmp_path / "labels", a=read(tmp_path / "out" / "a.png"))
        assert score_label_images(tmp_path / "out", labels, tiny().data).confusion.miou() == 1.0

    def test_unreadable_images_are_named_all_at_once(self, tmp_path: Path) -> None:
        Image.fromarray(photograph((20, 30))).save(tmp_path / "good.png")
        Image.fromarray(photograph((20, 30))).save(tmp_path / "cut.jpg")
        (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-300])
        (tmp_path / "empty.png").touch()
        Image.fromarray(photograph((20, 30))).save(tmp_path / "good.jpg")
        (tmp_path / ".hidden.png").touch()
        (tmp_path / "notes.txt").touch()
        with pytest.raises(InputError) as caught:
            readable_images(tmp_path, DataConfig())
        faults = [str(fault) for fault in caught.value.faults]
        assert len(faults) == 3
        assert f"{tmp_path}/good.png: has the same name as good.jpg" in faults[0]
        assert f"{tmp_path}/cut.jpg: cannot be read (" in faults[1]
        assert f"{tmp_path}/empty.png: is empty" in faults[2]

    def test_a_folder_without_images_is_one_fault(self, tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()
        for folder, what in ((tmp_path, "only the folders below"), (tmp_path / "nowhere", "is not a folder")):
            with pytest.raises(InputError, match=what) as caught:
                readable_images(folder, DataConfig())
            assert len(caught.value.faults) == 1


class TestScoreLabelImages:
    def test_counted_by_hand(self, tmp_path: Path) -> None:
        labels = label_folder(tmp_path / "labels", a=[[0, 0, 74], [128, 255, 9]], b=[[74]])
        predicted = label_folder(tmp_path / "predicted", a=[[0, 74, 74], [0, 9, 255]], b=[[74]])
        scored = score_label_images(predicted, labels, tiny().data)
        assert scored.confusion.counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
        assert {value: (v.num_pixels, v.first_file) for value, v in scored.unlisted.items()} == {
            9: (1, str(labels / "a.png"))
        }

    def test_contiguous_predictions_and_a_zero_label_that_is_no_class(self, tmp_path: Path) -> None:
        values = {"data.label_class_ids": [0, 7, 5], "data.reduce_zero_label": True}
        labels = label_folder(tmp_path / "labels", a=[[0, 7, 5, 5]])
        for ids, prediction in (("raw", [[0, 7, 7, 5]]), ("contiguous", [[200, 0, 0, 1]])):
            predicted = label_folder(tmp_path / "predicted", a=prediction)
            scored = score_label_images(predicted, labels, tiny(values).data, ids)  # type: ignore[arg-type]
            assert scored.confusion.counts.tolist() == [[1, 0], [1, 1]]

    def test_faults_come_all_at_once(self, tmp_path: Path) -> None:
        zeros = np.zeros((4, 6))
        labels = label_folder(tmp_path / "labels", size=zeros, value=zeros, alone=zeros, rgb=zeros, good=zeros)
        wrong = zeros.copy()
        wrong[0, :5], wrong[1, :2], wrong[2, 0] = 9, 255, 145
        predicted = label_folder(
            tmp_path / "predicted", size=zeros.T, value=wrong, widow=zeros, rgb=np.zeros((4, 6, 3)), good=zeros
        )
        faults = faults_of(predicted, labels)
        assert len(faults) == 5
        for file, what in (
            (predicted / "widow.png", f"has no label in {labels}"),
            (labels / "alone.png", f"has no prediction in {predicted}"),
            (predicted / "rgb.png", "has 3 channels (RGB)"),
            (predicted / "size.png", f"is 4x6 pixels, its label {labels / 'size.png'} is 6x4"),
            (
                predicted / "value.png",
                "contains 9 (5 pixels), 255 (2 pixels) at labelled pixels, which are not classes of "
                "label_class_ids [0, 74, 128, 145]; ",
            ),
        ):
            assert sum(fault.startswith(f"{file}: {what}") for fault in faults) == 1, (file, faults)

    def test_many_wrong_values_of_a_file_are_one_fault(self, tmp_path: Path) -> None:
        labels = label_folder(tmp_path / "labels", a=np.zeros((1, 40)))
        predicted = label_folder(tmp_path / "predicted", a=[np.arange(1, 41)])
        (fault,) = faults_of(predicted, labels)
        assert "10 (1 pixel) and 30 more at labelled pixels" in fault
        (fault,) = faults_of(label_folder(tmp_path / "p2", a=[np.arange(0, 40)]), labels, ids="contiguous")
        assert "4 (1 pixel)" in fault and "not classes of 0..3" in fault and "--ids raw" in fault

    def test_nothing_to_score(self, tmp_path: Path) -> None:
        labels = label_folder(tmp_path / "labels", a=[[9, 255]])
        (fault,) = faults_of(label_folder(tmp_path / "predicted", a=[[0, 0]]), labels)
        assert "no label contains a pixel of any class" in fault and "9, 255" in fault
        (tmp_path / "empty").mkdir()
        assert len(faults_of(tmp_path / "empty", labels)) == 1
        assert len(faults_of(tmp_path / "nowhere", tmp_path / "empty")) == 2
