import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raysearch.commands import cli, data_commands
from tests.raysearch.command import Command
from trainables.config import Config, DataConfig
from trainables.data import conversion
from trainables.losses.class_weights import class_weights


@pytest.fixture
def data(command: Command) -> Command:
    """Provide a function that runs `raysearch data ...` in this process."""
    return partial(command, "data")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Create ten training and five validation pairs.

    Value 2 is in every other label, and 255 is in a corner. There are 26 pixels of value 0 for each of value 1.
    """
    folder = tmp_path / "data set 数据"
    for split, count in (("train", 10), ("val", 5)):
        for part in ("image", "label"):
            (folder / split / part).mkdir(parents=True)
        for i in range(count):
            image = np.random.default_rng([count, i]).integers(0, 256, (6, 10, 3), np.uint8)
            Image.fromarray(image).save(folder / split / "image" / f"{split} {i}.png")
            label = np.zeros((6, 10), np.uint8)
            label[0, :2], label[5, 9] = 1, 255
            if i % 2:
                label[1] = 2
            Image.fromarray(label).save(folder / split / "label" / f"{split} {i}.png")
    return folder


def repaint(path: Path, change: Callable[[Any], None]) -> None:
    with Image.open(path) as image:
        pixels = np.array(image)
    change(pixels)
    Image.fromarray(pixels).save(path)


class TestInspect:
    def test_prints_what_there_is(self, data: Command, dataset: Path) -> None:
        ended = data("inspect", dataset)
        assert ended.code == 0, ended.err
        assert "6x10: 10" in ended.out
        assert "value 0 has 26.0 times the pixels of value 1 (520 : 20)" in ended.out.replace("\n", " ")
        assert "class weights are recommended" in ended.out
        assert "label_class_ids: [0, 1, 2]" in ended.out
        assert ended.err == ""

    def test_json_holds_every_count(self, data: Command, dataset: Path) -> None:
        found = data("inspect", dataset, "--ids", "0,2", "--json").json
        assert found["class_names"] == ["0", "2"]
        assert found["splits"]["train"] == {
            "pairs": 10,
            "sizes": [[6, 10, 10]],
            "value_pixels": {"0": 520, "1": 20, "2": 50, "255": 10},
            "class_pixels": [520, 50],
            "class_images": [10, 5],
        }
        assert [line for line in found["notices"] if "label value 1 " in line] != []
        assert (found["faults"], found["shared_images"]) == ([], [])

    def test_shared_images_are_named_by_both_paths(self, data: Command, dataset: Path) -> None:
        first, second = dataset / "train" / "image" / "train 3.png", dataset / "val" / "image" / "val 0.png"
        with Image.open(first) as image:
            image.save(second, compress_level=0)
        assert first.read_bytes() != second.read_bytes()
        assert data("inspect", dataset, "--json").json["shared_images"] == [[str(first), str(second)]]

    def test_faults_are_named_all_at_once_beside_what_can_be_read(self, data: Command, dataset: Path) -> None:
        (dataset / "train" / "label" / "train 0.png").unlink()
        (dataset / "val" / "image" / "val 1.png").write_bytes(b"rubbish")
        Image.fromarray(np.full((6, 10), 300, np.uint16)).save(dataset / "val" / "label" / "val 2.png")
        ended = data("inspect", dataset, "--json")
        assert ended.code == 2
        assert [ended.json["splits"][split]["pairs"] for split in ("train", "val")] == [9, 3]
        assert len(ended.json["faults"]) == ended.err.count("error:") == 3
        assert "16-bit label that holds the value 300" in ended.err

    def test_a_preset_and_a_config_name_the_classes(self, data: Command, dataset: Path, tmp_path: Path) -> None:
        assert data("inspect", dataset, "--preset", "camvid", "--json").json["class_names"][:2] == ["sky", "building"]
        config = Config(data=DataConfig(label_class_ids=(2, 1, 0), class_names=("two", "one", "zero")))
        path = tmp_path / "config.json"
        path.write_text(config.model_dump_json())
        found = data("inspect", dataset, "--config", path, "--json").json
        assert (found["class_names"], found["splits"]["train"]["class_pixels"]) == (
            ["two", "one", "zero"],
            [50, 20, 520],
        )


class TestConvert:
    @pytest.fixture
    def masks(self, tmp_path: Path) -> Path:
        folder = tmp_path / "masks"
        folder.mkdir()
        for i in range(3):
            mask = np.full((4, 4, 3), (128, 64, 128), np.uint8)
            mask[0] = (0, 0, 0)
            mask[1] = (128, 128, 128)
            Image.fromarray(mask).save(folder / f"{i}.png")
        return folder

    def test_colour_masks_by_a_preset(self, data: Command, masks: Path, tmp_path: Path) -> None:
        ended = data("convert", masks, tmp_path / "out", "--palette", "camvid")
        assert ended.code == 0, ended.err
        assert "label_class_ids: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]" in ended.out
        labels = sorted((tmp_path / "out").glob("*.png"))
        assert [path.name for path in labels] == sorted(path.name for path in masks.iterdir())
        for path in labels:
            with Image.open(path) as label:
                assert np.asarray(label)[:3, 0].tolist() == [255, 0, 3]
        assert (tmp_path / "out" / "classes.csv").read_text(encoding="utf-8").startswith("id,name\n0,sky\n1,building\n")

    def test_colour_masks_by_a_file(self, data: Command, masks: Path, tmp_path: Path) -> None:
        palette = tmp_path / "palette.csv"
        palette.write_text("r,g,b,id,name\n128,64,128,9,road\n0,0,0,255\n128,128,128,4,sky\n")
        ended = data("convert", masks, tmp_path / "out", "--palette", palette, "--values", "contiguous", "--json")
        assert ended.json["label_class_ids"] == [0, 1]  # in the order of the palette
        assert [(row["value"], row["becomes"]) for row in ended.json["values"]] == [(4, 1), (9, 0), (255, 255)]

    def test_a_wrong_colour_ends_in_2_and_leaves_nothing(self, data: Command, masks: Path, tmp_path: Path) -> None:
        for name in ("0.png", "2.png"):
            repaint(masks / name, lambda pixels: pixels.__setitem__((2, 1), (128, 64, 129)))
        ended = data("convert", masks, tmp_path / "out", "--palette", "camvid")
        assert ended.code == 2
        assert ended.err.count("pixel x=1, y=2 has the colour 128,64,129") == 2
        assert not (tmp_path / "out").exists()

    def test_grey_labels_of_a_dataset(self, data: Command, dataset: Path, tmp_path: Path) -> None:
        ended = data("convert", dataset, tmp_path / "out", "--values", "spaced", "--background", "1", "--link")
        assert ended.code == 0, ended.err
        assert "label_class_ids: [0, 254]" in ended.out
        assert "255 is ignored; if it is a class" in ended.out
        found = data("inspect", tmp_path / "out", "--ids", "0,254", "--json").json
        assert found["splits"]["train"]["value_pixels"] == {"0": 520, "254": 50, "255": 30}
        assert os.path.samefile(dataset / "val/image/val 0.png", tmp_path / "out/val/image/val 0.png")

    def test_nothing_is_overwritten(self, data: Command, dataset: Path) -> None:
        for destination in (dataset, dataset / "new", dataset.parent):
            ended = data("convert", dataset, destination)
            assert ended.code == 2
            assert "give a" in ended.err

    def test_a_signal_leaves_nothing_and_ends_in_its_number(
        self, data: Command, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*args: object, **kwargs: object) -> None:
            cli._interrupt(signal.SIGINT, None)

        monkeypatch.setattr(conversion, "place", interrupted)
        ended = data("convert", dataset, tmp_path / "out")
        assert ended.code == 130
        assert [path.name for path in tmp_path.iterdir()] == [dataset.name]


class TestWeights:
    def test_every_scheme_and_the_root(self, data: Command, dataset: Path) -> None:
        found = data("weights", dataset, "--ids", "0-2", "--json").json
        assert found["class_pixels"] == [520, 20, 50]
        assert found["weights"]["max_over_count"] == [1.0, 26.0, 10.4]
        assert found["weights"]["max_over_count^0.5"] == pytest.approx([1.0, 26.0**0.5, 10.4**0.5])
        assert sum(found["weights"]["one_minus_frequency"]) == pytest.approx(2.0)
        for scheme in ("inverse", "inverse_log"):
            assert found["weights"][scheme] == class_weights(scheme, 1.0, [520, 20, 50]).tolist()

    def test_the_schemes_are_those_of_the_config(self) -> None:
        for scheme in data_commands.SCHEMES:
            Config.model_validate({"loss": {"ce_weights": scheme}})
        schema = json.dumps(Config.model_json_schema()["$defs"]["LossConfig"]["properties"]["ce_weights"])
        assert json.dumps(list(data_commands.SCHEMES)) in schema

    def test_a_class_without_a_pixel_is_named(self, data: Command, dataset: Path) -> None:
        ended = data("weights", dataset, "--ids", "0,1,254")
        assert ended.code == 0
        assert "note: 254 has no training pixel; its weight is 0" in ended.out
        found = data("weights", dataset, "--ids", "0,1,254", "--json").json
        assert found["without_pixels"] == ["254"]
        assert found["weights"]["max_over_count"] == [1.0, 26.0, 0.0]

    def test_what_cannot_be_weighed(self, data: Command, dataset: Path) -> None:
        assert "give --ids, --preset or --config" in data("weights", dataset).err
        ended = data("weights", dataset, "--ids", "7,8")
        assert (ended.code, "its labels hold: 0, 1, 2, 255" in ended.err) == (2, True)


class TestSplit:
    def test_splits_anew_with_every_class_in_every_split(self, data: Command, dataset: Path, tmp_path: Path) -> None:
        ended = data("split", dataset, tmp_path / "out", "--val", "0.2", "--test", "0.2", "--seed", "3")
        assert ended.code == 0, ended.err
        assert "note:" not in ended.out
        found = data("inspect", tmp_path / "out", "--json").json
        assert {split: part["pairs"] for split, part in found["splits"].items()} == {"train": 9, "val": 3, "test": 3}
        assert all(min(part["class_pixels"]) > 0 for part in found["splits"].values())

    def test_a_class_that_is_too_rare_is_told(self, data: Command, dataset: Path, tmp_path: Path) -> None:
        repaint(dataset / "train" / "label" / "train 4.png", lambda pixels: pixels.__setitem__((3, 3), 77))
        ended = data("split", dataset, tmp_path / "out", "--link")
        assert "note: val has no image with value 77, which is in 1 image in all" in ended.out

    @pytest.mark.parametrize(
        "shares",
        [
            ("0", "0"),
            ("0.6", "0.4"),
            ("-0.1", "0"),
            ("nan", "0"),
            ("0.2", "-0.1"),
            ("1.5", "0"),
            ("2", "nan"),
            ("inf", "0"),
        ],
    )
    def test_shares_that_leave_nothing(self, shares: tuple[str, str], data: Command, dataset: Path) -> None:
        ended = data("split", dataset, dataset.parent / "out", f"--val={shares[0]}", f"--test={shares[1]}")
        assert (ended.code, "shares above 0" in ended.err) == (2, True)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (("--val", "4"), {"train": 11, "val": 4}),
            (("--train", "9"), {"train": 9, "val": 6}),
            (("--train", "0.4"), {"train": 6, "val": 9}),
            (("--train", "9", "--test", "2"), {"train": 9, "val": 4, "test": 2}),
            (("--val", "1", "--test", "0.2"), {"train": 11, "val": 1, "test": 3}),
        ],
    )
    def test_numbers_of_images(
        self, options: tuple[str, ...], expected: dict[str, int], data: Command, dataset: Path, tmp_path: Path
    ) -> None:
        ended = data("split", dataset, tmp_path / "out", *options)
        assert ended.code == 0, ended.err
        found = {part.name: len(list((part / "image").iterdir())) for part in (tmp_path / "out").iterdir()}
        assert found == expected
        assert "groups stay together" not in ended.out

    def test_numbers_that_leave_nothing(self, data: Command, dataset: Path, tmp_path: Path) -> None:
        ended = data("split", dataset, tmp_path / "out", "--train", "12", "--test", "3")
        told = "data split: train 12 and test 3 of 15 images leave no image for val; give smaller numbers"
        assert (ended.code, told in ended.err.replace("\n", " ")) == (2, True)
        ended = data("split", dataset, tmp_path / "out", "--train", "9", "--val", "3")
        assert (ended.code, "both --train and --val are given" in ended.err) == (2, True)

    def test_a_number_that_groups_cannot_meet_is_told(self, data: Command, dataset: Path, tmp_path: Path) -> None:
        ended = data("split", dataset, tmp_path / "out", "--val", "4", "--group", r"^(val|train)")
        assert ended.code == 0, ended.err
        assert "note: val has 5 images instead of 4, because groups stay together" in ended.out

    def test_two_groupings(self, data: Command, dataset: Path) -> None:
        ended = data("split", dataset, dataset.parent / "out", "--group", "x", "--group-csv", "y")
        assert (ended.code, "both --group and --group-csv are given" in ended.err) == (2, True)


class TestClasses:
    @pytest.mark.parametrize(
        ("words", "what"),
        [
            (("--ids", "0,x"), "'x' is neither a label value"),
            (("--ids", "5-2"), "'5-2' is neither a label value"),
            (("--ids", ""), "is neither a label value"),
            (("--ids", "0,0,1"), "more than once"),
            (("--ids", "0,255"), "255, which always means ignore"),
            (("--ids", "0,300"), "less than or equal to 255"),
            (("--ids", "0"), "at least 2 are needed"),
            (("--preset", "camvit"), "did you mean camvid?"),
            (("--preset", "camvid", "--ids", "0,1"), "more than one of"),
            (("--config", "absent.json"), "absent.json"),
        ],
    )
    def test_what_is_wrong_with_them(self, words: tuple[str, ...], what: str, data: Command, dataset: Path) -> None:
        ended = data("inspect", dataset, *words)
        assert ended.code == 2
        assert what in ended.err

    def test_no_dataset(self, data: Command, tmp_path: Path) -> None:
        absent = tmp_path / "absent"
        for words in (
            ("inspect", absent),
            ("weights", absent, "--ids", "0,1"),
            ("convert", absent, tmp_path / "converted"),
            ("split", absent, tmp_path / "split"),
        ):
            ended = data(*words)
            assert ended.code == 2
            assert str(absent) in ended.err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--palette", "--group-csv"])
def test_a_file_of_another_kind_is_named_in_one_line(data: Command, dataset: Path, tmp_path: Path, option: str) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("space: {optim.lr: {type: float, low: 1, high: 2}}\nobjective: {metric: miou, mode: max}\n")
    command = {"--palette": "convert", "--group-csv": "split"}[option]
    ended = data(command, dataset, tmp_path / "out", option, space)
    needed = {"--palette": "a palette", "--group-csv": "a table"}[option]
    assert ended.code == 2
    assert ended.err.count("error:") == 1
    assert f"{space}: is a space file, but {needed} is needed here; " in ended.err.replace("\n", " ")
