"""Tests of the first space file for a dataset: its content, that it passes, and messages if it cannot be written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from raysearch.checks import check
from raysearch.checks.measure import Measurement, NotMeasured
from raysearch.commands.first_space import first_space
from raysearch.errors import InputError
from raysearch.execution.machine import Machine
from raysearch.execution.preflight import preflight
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.command import Command
from trainables.config import DataConfig
from trainables.data.presets import PRESETS
from trainables.protocol import TrialCost

GB = 2**30
LAPTOP = Machine(cpus=4, gpus=0, memory_bytes=16 * GB, free_bytes=8 * GB, gpu_memory_bytes=None)
SERVER = Machine(cpus=32, gpus=4, memory_bytes=256 * GB, free_bytes=200 * GB, gpu_memory_bytes=80 * GB)


def write_pairs(
    folder: Path,
    count: int,
    values: tuple[int, ...] = (0, 74, 128),
    size: tuple[int, int] = (40, 56),
    mode: str = "L",
    parts: tuple[str, str] = ("image", "label"),
) -> None:
    """Write pairs in which the first value has nearly all pixels and every other one a row of 4."""
    for part in parts:
        (folder / part).mkdir(parents=True)
    for i in range(count):
        image = np.random.default_rng([len(str(folder)), i]).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(image).save(folder / parts[0] / f"{i}.png")
        label = np.full(size, values[0], np.uint8)
        for row, value in enumerate(values[1:]):
            label[row % size[0], 4 * (row // size[0]) : 4 * (row // size[0]) + 4] = value
        written = Image.fromarray(label)
        if mode == "P":
            written.putpalette([channel for grey in range(256) for channel in (grey, 0, 255 - grey)])
        (written if mode in ("L", "P") else written.convert(mode)).save(folder / parts[1] / f"{i}.png")


def write_dataset(folder: Path, **options: object) -> Path:
    write_pairs(folder / "train", 8, **options)  # type: ignore[arg-type]
    write_pairs(folder / "val", 4, **options)  # type: ignore[arg-type]
    return folder


def spec_of(folder: Path, out: Path, machine: Machine = LAPTOP, config: DataConfig | None = None) -> SearchSpec:
    out.write_text(first_space(folder, machine, config).text, encoding="utf-8")
    return load_space(out)


@pytest.mark.parametrize(
    ("options", "config", "ids", "num_classes"),
    [
        ({}, None, [0, 74, 128], 3),
        ({"parts": ("images", "labels")}, None, [0, 74, 128], 3),
        ({"mode": "P"}, None, [0, 74, 128], 3),
        ({"values": (0, 1, 255)}, None, [0, 1], 2),
        ({"values": (7, 8, 11)}, "cityscapes", list(PRESETS["cityscapes"].label_class_ids), 19),
        ({"values": (0, 1, 2)}, "ade20k", list(range(151)), 150),
    ],
)
def test_every_layout_and_kind_of_label_gives_a_file_that_loads(
    tmp_path: Path, options: dict[str, object], config: str | None, ids: list[int], num_classes: int
) -> None:
    known = None if config is None else PRESETS[config]
    data = (
        None
        if known is None
        else DataConfig(
            label_class_ids=known.label_class_ids,
            reduce_zero_label=known.reduce_zero_label,
            class_names=known.class_names,
        )
    )
    spec = spec_of(write_dataset(tmp_path / "my data 数据", **options), tmp_path / "space.yaml", config=data)
    assert spec.config["data"]["label_class_ids"] == ids
    assert len(spec.config["data"]["class_names"]) == num_classes
    assert spec.name == "my-data-数据"


def test_the_file_passes_the_look_at_data_and_network(tmp_path: Path) -> None:
    preflight(spec_of(write_dataset(tmp_path / "data"), tmp_path / "space.yaml"))


def test_sizes_budget_and_resources_follow_images_and_machine(tmp_path: Path) -> None:
    small = spec_of(write_dataset(tmp_path / "small"), tmp_path / "small.yaml")
    assert small.config["data"]["image_scale"] == 1.0
    assert small.config["data"]["augmentation"]["crop_size"] == [32, 32]
    assert small.config["train"]["batch_size"] == 6
    assert small.max_iters == 8 * small.config["train"]["report_iters"] <= 100 * 8 / 6 + 80
    assert (small.resources.cpu, small.resources.gpu) == (1, 0)

    large = write_dataset(tmp_path / "large", size=(720, 960))
    on_cpu = spec_of(large, tmp_path / "large.yaml")
    assert on_cpu.config["data"]["image_scale"] == 0.25
    assert on_cpu.config["data"]["augmentation"]["crop_size"] == [160, 160]  # the images are 180 x 240
    on_gpu = spec_of(large, tmp_path / "gpu.yaml", SERVER)
    assert on_gpu.config["data"]["image_scale"] == 1.0
    assert on_gpu.config["data"]["augmentation"]["crop_size"] == [512, 512]
    assert (on_gpu.resources.cpu, on_gpu.resources.gpu) == (8, 1)
    assert on_gpu.search.trials > on_cpu.search.trials


def test_classes_are_listed_with_the_weights_that_are_suggested(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data" / "train", 8)
    write_pairs(tmp_path / "data" / "val", 4, values=(0, 128))
    first = first_space(tmp_path / "data", LAPTOP)
    lines = [line.split() for line in first.text.splitlines()]
    # 40 * 56 - 8 pixels of value 0, 4 of each other one: (2232 / 4) ** 0.5 = 23.6
    assert ["#", "74", "0.18", "%", "8", "0", "23.6", "value", "74"] in lines
    assert yaml.safe_load(first.text)["config"]["loss"]["ce_weight_power"] == 0.5
    assert any("val: value 74 (raw value 74) has no pixel" in notice for notice in first.notices)


def test_labels_like_those_of_a_preset_are_pointed_out(tmp_path: Path) -> None:
    camvid = write_dataset(tmp_path / "data", values=tuple(range(12)))
    assert any("--preset camvid" in notice for notice in first_space(camvid, LAPTOP).notices)
    other = write_dataset(tmp_path / "other")
    assert not any("--preset" in notice for notice in first_space(other, LAPTOP).notices)


def faults_of(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        first_space(folder, LAPTOP)
    return "\n".join(map(str, caught.value.faults))


def test_a_folder_that_is_no_dataset_yet_is_told_the_command(tmp_path: Path) -> None:
    assert "is not a folder" in faults_of(tmp_path / "nowhere")

    pairs = tmp_path / "pairs"
    write_pairs(pairs, 4)
    assert f"is not split yet; create train/ and val/ with:  python -m raysearch data split {pairs} " in faults_of(
        pairs
    )
    write_pairs(tmp_path / "train only" / "train", 4)
    assert "has train/ only; create train/ and val/ with:  python -m raysearch data split " in faults_of(
        tmp_path / "train only"
    )
    (tmp_path / "heap" / "photos").mkdir(parents=True)
    heap = faults_of(tmp_path / "heap")
    assert "(it has photos), and it is not an export of COCO JSON, " in heap and "put all images into image/" in heap

    one = write_dataset(tmp_path / "one", values=(5,))
    assert "hold only the value 5, but a network needs at least two classes" in faults_of(one)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # As much as fits; fewer trials if eight do not fit; the minimum with a notice if nothing fits.
        (0.005, (8, 1000)),
        (0.5, None),
        (5.0, (4, 2)),
        (200.0, (4, 2)),
    ],
)
def test_a_quick_search_is_planned_to_end_in_time(
    seconds: float, expected: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(spec: SearchSpec, configs: Sequence[object], **_: object) -> list[Measurement]:
        report_iters = spec.config["train"]["report_iters"]
        return [Measurement(TrialCost(seconds, 2 * seconds, report_iters), None, on_gpu=False)] * len(configs)

    monkeypatch.setattr(check, "measure", measured)
    monkeypatch.setattr(check, "this_machine", lambda: LAPTOP)
    write_pairs(tmp_path / "data" / "train", 8)
    write_pairs(tmp_path / "data" / "val", 60)
    space = tmp_path / "quick.yaml"
    first = first_space(tmp_path / "data", LAPTOP, quick=True)
    space.write_text(first.text, encoding="utf-8")
    spec = load_space(space)
    assert spec.config["evaluation"]["num_images"] == 50
    found = (spec.search.trials, spec.config["train"]["report_iters"])
    took = check.check_search(spec).seconds
    assert took is not None
    if expected is not None:
        assert found == expected
    assert (took.high < 480) == (seconds < 100)
    assert ("which is the shortest possible" in first.notices[-1]) == (seconds > 100)
    if expected is None:  # twice as much would not fit
        text = first.text.replace(f"max_iters: {8 * found[1]}", f"max_iters: {20 * found[1]}")
        space.write_text(
            text.replace(f"report_iters: {found[1]}", f"report_iters: {5 * found[1] // 2}"), encoding="utf-8"
        )
        more = check.check_search(load_space(space)).seconds
        assert more is not None and more.high > 480


def test_nothing_is_overwritten(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "data")
    (tmp_path / "data.yaml").write_text("mine")
    done = command("init", "data")
    assert done.code == 2
    assert "data.yaml: already exists" in done.err
    assert (tmp_path / "data.yaml").read_text() == "mine"


def test_from_a_folder_to_a_finished_search(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is checked unchanged, except that nothing is measured, and run in a small version."""
    space, run = tmp_path / "first.yaml", tmp_path / "run"
    first = command("init", write_dataset(tmp_path / "data"), "--out", space)
    assert first.code == 0
    assert f"python -m raysearch check {space}" in first.out
    monkeypatch.setattr(check, "measure", lambda spec, configs, **_: [NotMeasured("", is_fault=False)] * len(configs))
    assert check.check_search(load_space(space)).estimate is not None
    small = (
        "config.model.backbone=test_efficientnet",
        "config.train.max_iters=4",
        "config.train.report_iters=2",
        "search.trials=2",
        "resources.concurrent=1",
    )
    words = [word for value in small for word in ("--set", value)]
    done = command("run", space, *words, "--out", run, "--executor", "local")
    assert done.code == 0, done.err
    assert "images:     8 train, 4 val; 3 classes" in done.out
    assert "search:     2 trials, about " in done.out
    assert (run / "best_config.json").exists()


def test_images_of_twelve_bits_and_their_depth_are_found(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "deep")
    for path in sorted(folder.glob("*/image/*.png")):
        Image.fromarray(np.asarray(Image.open(path))[..., 0].astype(np.uint16) * 16).save(path)
    for config in (None, DataConfig(label_class_ids=(0, 74))):
        first = first_space(folder, LAPTOP, config)
        assert yaml.safe_load(first.text)["config"]["data"]["bit_depth"] == 12
        assert sum("16 bits per channel" in line for line in first.notices) == 1
    assert "bit_depth" not in first_space(write_dataset(tmp_path / "usual"), LAPTOP).text
