"""Tests that every command printed by `init` runs as printed and leads to a space file."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from raysearch.checks import check
from raysearch.checks.measure import NotMeasured
from raysearch.command_line import command_line
from raysearch.execution.preflight import preflight
from raysearch.space.parsing import load_space
from tests.raysearch.command import Command
from tests.trainables.data.test_annotations import coco
from trainables.data.folder import find_pairs
from trainables.data.image_files import read_label

Save = Callable[[Path, str, NDArray[np.uint8], NDArray[np.uint8]], None]
"""Function that writes the image and the label of a name into the folder of a split or of the whole dataset."""


@pytest.fixture
def raysearch(command: Command) -> Callable[[str], tuple[int, str]]:
    """Provide a function that runs a command line as a shell would, in this process: exit code and output."""

    def run(line: str) -> tuple[int, str]:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "raysearch"]
        done = command(*words[3:])
        return done.code, done.out + done.err

    return run


def pairs(count: int, values: tuple[int, ...]) -> list[tuple[NDArray[np.uint8], NDArray[np.uint16]]]:
    found = []
    for i in range(count):
        label = np.full((40, 48), values[0], np.uint16)
        for k, value in enumerate(values[1:]):
            label[4 + 9 * k : 12 + 9 * k, 5 + i : 20 + i] = value
        found.append((np.random.default_rng(i).integers(0, 256, (40, 48, 3)).astype(np.uint8), label))
    return found


def write(root: Path, image_at: str, label_at: str, values: tuple[int, ...] = (0, 1, 2), mode: str = "L") -> Path:
    """Write a dataset; {split} and {name} in the path patterns are replaced."""
    for split, count in (("train", 8), ("val", 4)) if "{split}" in image_at else (("", 10),):
        for i, (image, label) in enumerate(pairs(count, values)):
            for pattern, pixels in ((image_at, image), (label_at, label)):
                path = root / pattern.format(split=split, name=f"{split}{i}")
                path.parent.mkdir(parents=True, exist_ok=True)
                if pixels is label and mode != "I;16":
                    grey = Image.fromarray(label.astype(np.uint8))
                    (grey if mode == "L" else grey.convert(mode)).save(path)
                else:
                    Image.fromarray(pixels).save(path)
    return root


COLOURS = ((0, 0, 0), (128, 64, 0), (0, 0, 200))


def write_colours(root: Path) -> Path:
    write(root, "{split}/image/{name}.png", "{split}/label/{name}.png")
    for path in root.glob("*/label/*.png"):
        Image.fromarray(np.array(COLOURS, np.uint8)[np.asarray(Image.open(path))]).save(path)
    return root


RIGHT = ("{split}/image/{name}.png", "{split}/label/{name}.png")

DATASETS: dict[str, tuple[Callable[[Path], Path], list[int]]] = {
    "right": (lambda root: write(root, *RIGHT), [0, 1, 2]),
    "other way round": (lambda root: write(root, "images/{split}/{name}.jpg", "labels/{split}/{name}.png"), [0, 1, 2]),
    "other way round, black and white": (
        lambda root: write(root, "images/{split}/{name}.jpg", "labels/{split}/{name}.png", (0, 255), "RGB"),
        [0, 1],
    ),
    "suffix": (lambda root: write(root, "{split}/image/{name}.jpg", "{split}/label/{name}_mask.png"), [0, 1, 2]),
    "prefix": (lambda root: write(root, "{split}/image/{name}.jpg", "{split}/label/mask_{name}.png"), [0, 1, 2]),
    "gif": (lambda root: write(root, "{split}/image/{name}.jpg", "{split}/label/{name}.gif", (0, 1)), [0, 1]),
    "gif, black and white": (
        lambda root: write(root, "{split}/image/{name}.jpg", "{split}/label/{name}_mask.gif", (0, 255)),
        [0, 1],
    ),
    "black and white": (lambda root: write(root, *RIGHT, (0, 255)), [0, 1]),
    "black and white, three channels": (lambda root: write(root, *RIGHT, (0, 255), "RGB"), [0, 1]),
    "ids in three channels": (lambda root: write(root, *RIGHT, (0, 3, 7), "RGB"), [0, 3, 7]),
    "16 bit": (lambda root: write(root, *RIGHT, (0, 300, 600), "I;16"), [0, 1, 2]),
    "one bit": (lambda root: write(root, *RIGHT, (0, 255), "1"), [0, 1]),
    "masks, not split": (lambda root: write(root, "images/{name}.jpg", "masks/{name}.png", (0, 255)), [0, 1]),
    "pairs, not split": (lambda root: write(root, "image/{name}.jpg", "label/{name}.png"), [0, 1, 2]),
    "colours": (write_colours, [0, 1, 2]),
}


@pytest.mark.parametrize("name", DATASETS)
def test_what_init_prints_leads_to_a_space_file(
    name: str,
    tmp_path: Path,
    raysearch: Callable[[str], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset, ids = DATASETS[name]
    folder = write_dataset(tmp_path / "my [red] data's 数据" / "-set 1")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines, steps = [command_line("init", folder, "--out", "first space.yaml")], 0
    while not Path("first space.yaml").exists():
        assert lines and steps < 6, "the commands lead nowhere"
        code, said = raysearch(lines.pop(0))
        steps += 1
        if code != 0:
            assert code == 2, said
            (told,) = re.findall(r":  (python -m raysearch .*)$", said, re.MULTILINE)
            lines = told.split(" && ")
    (following,) = re.findall(r"^next: +(python .*)$", said, re.MULTILINE)
    assert shlex.split(following) == ["python", "-m", "raysearch", "check", "first space.yaml"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    spec = load_space(Path("first space.yaml"))
    assert spec.config["data"]["label_class_ids"] == ids
    preflight(spec)
    # The pixels are unchanged.
    found = find_pairs(Path(spec.config["data"]["dir"]), "val")
    drawn = {np.unique(label, return_counts=True)[1].tobytes() for _, label in pairs(12, tuple(range(len(ids))))}
    counts = {np.unique(read_label(pair.label), return_counts=True)[1].tobytes() for pair in found}
    assert counts <= drawn


@pytest.mark.parametrize("is_split", [False, True])
def test_commands_for_blended_labels_keep_the_ids_that_were_given(
    is_split: bool, tmp_path: Path, raysearch: Callable[[str], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = (0, 100, 201)
    for i, (image, label) in enumerate(pairs(12, ids)):
        split = ("train" if i < 9 else "val") if is_split else ""
        for part in ("image", "label"):
            (tmp_path / "soft" / split / part).mkdir(parents=True, exist_ok=True)
        blended = Image.fromarray(label.astype(np.uint8)).resize((64, 48), Image.Resampling.BILINEAR)
        Image.fromarray(image).resize((64, 48)).save(tmp_path / "soft" / split / "image" / f"{i}.png")
        blended.save(tmp_path / "soft" / split / "label" / f"{i}.png")
    options = ["--ids", "0,100,201", "--out", "first.yaml"]
    code, said = raysearch(command_line("init", Path("soft"), *options))
    for _ in range(2):  # convert the labels, then split them
        told = re.findall(r":  (python -m raysearch [^\n]*)$", said, re.MULTILINE)
        for line in told[0].split(" && ") if told else ():
            code, said = raysearch(line)
    if is_split:  # the space file was written at once, and the command only wrote a copy of the dataset
        assert code == 0, said
        code, said = raysearch(command_line("init", Path("soft_hard"), "--ids", "0,100,201", "--out", "second.yaml"))
    assert code == 0, said
    spec = load_space(Path("second.yaml" if is_split else "first.yaml"))
    assert spec.config["data"]["label_class_ids"] == list(ids)
    labels = Path(spec.config["data"]["dir"]).rglob("label/*.png")
    assert set(np.unique([np.asarray(Image.open(path)) for path in labels])) == set(ids)


def test_an_export_becomes_a_dataset_beside_the_space_file(
    tmp_path: Path, raysearch: Callable[[str], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    coco(tmp_path / "my export")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    code, said = raysearch("python -m raysearch init '../my export' --out first.yaml")
    assert code == 0, said
    assert f"COCO JSON: images with labels in {tmp_path / 'work' / 'first_data'}: 4 train, 2 val" in said
    assert "note: pixels without annotation belong to the class background (value 0)" in said
    data = yaml.safe_load(Path("first.yaml").read_text(encoding="utf-8"))["config"]["data"]
    assert data["class_names"] == ["background", "a", "b"]
    monkeypatch.setattr(check, "measure", lambda spec, configs, **_: [NotMeasured("", is_fault=False)] * len(configs))
    check.check_search(load_space(Path("first.yaml")))

    code, said = raysearch("python -m raysearch data convert '../my export' made --from coco")
    assert code == 0, said
    assert 'label_class_ids: [0, 1, 2], class_names: ["background", "a", "b"]' in said

    monkeypatch.chdir(tmp_path / "my export")
    code, said = raysearch("python -m raysearch init .")
    assert code == 2
    assert "would be in the export, which is never changed" in said
    assert sorted(path.name for path in Path().iterdir()) == ["annotations", "train2017", "val2017"]


def test_classes_keep_the_names_that_a_palette_gives(
    tmp_path: Path, raysearch: Callable[[str], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_colours(tmp_path / "masks")
    rows = "".join(f"{r},{g},{b},{k},{name}\n" for k, ((r, g, b), name) in enumerate(zip(COLOURS, "xyz", strict=True)))
    Path("colours.csv").write_text(rows, encoding="utf-8")
    assert raysearch("python -m raysearch data convert masks ids --palette colours.csv")[0] == 0
    assert raysearch("python -m raysearch data split ids anew --val 0.3")[0] == 0
    assert raysearch("python -m raysearch init anew")[0] == 0
    data = yaml.safe_load(Path("anew.yaml").read_text(encoding="utf-8"))["config"]["data"]
    assert (data["label_class_ids"], data["class_names"]) == ([0, 1, 2], ["x", "y", "z"])


def test_what_cannot_be_converted_is_said_in_place_of_a_command(
    tmp_path: Path, raysearch: Callable[[str], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "many", "image/{name}.png", "label/{name}.png", tuple(range(2)))
    for path in tmp_path.glob("many/label/*.png"):
        Image.fromarray((np.arange(40 * 48).reshape(40, 48) % 300).astype(np.uint16)).save(path)
    code, said = raysearch("python -m raysearch init many")
    assert code == 2
    assert "holds 299 label values" in said  # besides 255
    assert "data convert" not in said
