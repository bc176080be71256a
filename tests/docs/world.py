"""A folder with everything that commands in the documentation refer to, in a tiny version."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.config import Config
from trainables.openseg.writer import write_openseg

COLOURS = {(0, 0, 0): 0, (0, 128, 0): 50, (128, 64, 128): 100}
_SIZE = (32, 48)


def build(folder: Path) -> None:
    """Create datasets with the names that the pages use, a palette, images without labels, and an openseg file."""
    ids = np.array([0, 50, 100], np.uint8)
    for name in ("potatoes", "other_potatoes"):
        _dataset(folder / name, {"train": 8, "val": 4, "test": 2}, lambda classes: ids[classes])
    _dataset(folder / "camvid", {"train": 4, "val": 3}, lambda classes: (classes * 5).astype(np.uint8))
    _dataset(folder / "masks", {"train": 2, "val": 2}, lambda classes: np.array(list(COLOURS), np.uint8)[classes])
    _dataset(folder / "grey", {"train": 2, "val": 2}, lambda classes: classes.astype(np.uint8))
    _pairs(folder / "all", [f"clip{clip}_{i}" for clip in range(5) for i in range(2)], lambda classes: ids[classes])
    _pairs(folder / "new pairs", [f"field {i}" for i in range(2)], lambda classes: ids[classes])
    (folder / "new pairs" / "image").rename(folder / "new")
    (folder / "new pairs" / "label").rename(folder / "true_labels")
    _coco_export(folder / "coco_export")
    rows = "".join(f"{r},{g},{b},{raw}\n" for (r, g, b), raw in COLOURS.items())
    (folder / "colours.csv").write_text(f"r,g,b,id\n{rows}", encoding="utf-8")
    _openseg_file(folder / "H_48_D_4.json")


def _dataset(folder: Path, sizes: dict[str, int], label_of) -> None:  # type: ignore[no-untyped-def]
    for split, count in sizes.items():
        _pairs(folder / split, [f"{split} {i}" for i in range(count)], label_of)


def _pairs(folder: Path, names: list[str], label_of) -> None:  # type: ignore[no-untyped-def]
    (folder / "image").mkdir(parents=True)
    (folder / "label").mkdir()
    for name in names:
        classes = _classes(name)
        image = (classes[..., None] * 90 + np.arange(3) * 20).astype(np.uint8)
        Image.fromarray(image).save(folder / "image" / f"{name}.png")
        Image.fromarray(label_of(classes)).save(folder / "label" / f"{name}.png")


def _coco_export(folder: Path) -> None:
    """Create images and a COCO file that has a square of one of two classes on each image."""
    folder.mkdir()
    document: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    document["categories"] = [{"id": 1, "name": "leaf"}, {"id": 2, "name": "potato"}]
    for i in range(8):
        Image.fromarray(np.full((*_SIZE, 3), 25 * i, np.uint8)).save(folder / f"{i}.png")
        square = [4, 4, 20, 4, 20, 20, 4, 20]
        document["images"].append({"id": i, "file_name": f"{i}.png"})
        document["annotations"].append({"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": [square]})
    (folder / "annotations.json").write_text(json.dumps(document), encoding="utf-8")


def _classes(name: str) -> NDArray[np.int64]:
    """Return class indices 0 to 2, (H, W), with patches that depend on the name."""
    rng = np.random.default_rng(list(name.encode()))
    classes = np.zeros(_SIZE, np.int64)
    for k in (1, 2):
        top, left = rng.integers(0, (_SIZE[0] - 12, _SIZE[1] - 16))
        classes[top : top + 12, left : left + 16] = k
    return classes


def _openseg_file(path: Path) -> None:
    config = Config.model_validate(
        {
            "data": {"dir": "potatoes", "label_class_ids": [0, 50, 100], "augmentation": {"crop_size": [32, 32]}},
            "model": {"backbone": "hrnet_w48", "head_channels": None, "hrnet_fuse": "bilinear"},
            "contrast": {"proj_dim": 8},
            "train": {"max_iters": 4, "report_iters": 2, "batch_size": 2},
        }
    )
    document = write_openseg(config)
    document.pop("raysearch")
    path.write_text(json.dumps(document), encoding="utf-8")
